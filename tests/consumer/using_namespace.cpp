// `using namespace weft` leaves the names of <cmath> usable.
#include <weft/weft.h>

#include <cmath>

using namespace weft;

double numbers_stay_numbers(double x) {
  return exp(1) + sqrt(x) + pow(x, 2) + abs(-x) + sin(1.0f) + floor(x) + fmax(x, 1.0) + exp(x) + log(2) + round(x);
}
