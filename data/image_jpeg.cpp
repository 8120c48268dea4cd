#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "data/image.h"

#ifdef WEFT_JPEG
#include <jerror.h>
#include <jpeglib.h>
#endif

namespace weft::data {

#ifdef WEFT_JPEG
namespace {

constexpr int kMaxScans = 500;  // a small progressive file can otherwise take minutes

/// One file being read. libjpeg reports errors by a long jump, which must not pass over a destructor: so everything
/// here is plain memory, and the two functions that jump hold nothing else.
struct Job {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
  bool truncated;
};

Job& job_of(j_common_ptr info) { return *static_cast<Job*>(info->client_data); }

[[noreturn]] void on_error(j_common_ptr info) {
  Job& job = job_of(info);
  (*info->err->format_message)(info, job.message);
  std::longjmp(job.jump, 1);
}
void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) job_of(info).truncated = true;
}
void on_output(j_common_ptr) {}
void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
  std::snprintf(job_of(info).message, sizeof(Job::message), "it has more than %d scans", kMaxScans);
  std::longjmp(job_of(info).jump, 1);
}

bool read_header(Job* job, const unsigned char* bytes, unsigned long size) {
  if (setjmp(job->jump) != 0) return false;
  jpeg_create_decompress(&job->info);
  job->info.client_data = job;
  job->info.progress = &job->progress;
  jpeg_mem_src(&job->info, bytes, size);
  jpeg_read_header(&job->info, TRUE);
  return true;
}
bool read_pixels(Job* job, unsigned char* out) {
  if (setjmp(job->jump) != 0) return false;
  jpeg_start_decompress(&job->info);
  const size_t row = static_cast<size_t>(job->info.output_width) * static_cast<size_t>(job->info.output_components);
  while (job->info.output_scanline < job->info.output_height) {
    JSAMPROW to = out + job->info.output_scanline * row;
    jpeg_read_scanlines(&job->info, &to, 1);
  }
  jpeg_finish_decompress(&job->info);
  return true;
}

/// RGB of CMYK [height, width, 4].
Tensor from_cmyk(const Tensor& cmyk, bool inverted) {
  Tensor out = empty({cmyk.size(0), cmyk.size(1), 3}, {.dtype = DType::u8, .device = DeviceType::cpu});
  const uint8_t* p = cmyk.data<uint8_t>();
  uint8_t* to = out.data<uint8_t>();
  for (int64_t i = 0; i < cmyk.size(0) * cmyk.size(1); ++i, p += 4)
    for (int c = 0; c < 3; ++c) {
      const int ink = inverted ? p[c] : 255 - p[c], black = inverted ? p[3] : 255 - p[3];
      *to++ = static_cast<uint8_t>((ink * black + 127) / 255);
    }
  return out;
}

/// Frees what libjpeg holds, however the reading ends.
class Reader {
 public:
  Reader() {
    std::memset(static_cast<void*>(&job), 0, sizeof(job));
    job.info.err = jpeg_std_error(&job.errors);
    job.errors.error_exit = on_error;
    job.errors.emit_message = on_message;
    job.errors.output_message = on_output;
    job.progress.progress_monitor = on_progress;
    job.info.client_data = &job;
  }
  ~Reader() { jpeg_destroy_decompress(&job.info); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  Job job;
};

}  // namespace

bool reads_jpeg() { return true; }

Tensor detail::decode_jpeg(std::span<const uint8_t> bytes, int64_t max_pixels, const std::string& name) {
  Reader reader;
  jpeg_decompress_struct& info = reader.job.info;
  const bool known = read_header(&reader.job, bytes.data(), bytes.size());
  WEFT_CHECK_FILE(known, "decode_image: '{}' is damaged: {}", name, reader.job.message);
  check_image_size(info.image_width, info.image_height, max_pixels, name);
  const bool cmyk = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  const bool gray = info.jpeg_color_space == JCS_GRAYSCALE;
  info.out_color_space = cmyk ? JCS_CMYK : gray ? JCS_GRAYSCALE : JCS_RGB;
  Tensor out = empty({info.image_height, info.image_width,
                      cmyk   ? 4
                      : gray ? 1
                             : 3},
                     {.dtype = DType::u8, .device = DeviceType::cpu});
  const bool read = read_pixels(&reader.job, out.data<uint8_t>());
  WEFT_CHECK_FILE(read, "decode_image: '{}' is damaged: {}", name, reader.job.message);
  WEFT_CHECK_FILE(!reader.job.truncated, "decode_image: '{}' is truncated", name);
  return cmyk ? from_cmyk(out, info.saw_Adobe_marker) : out;
}

#else

bool reads_jpeg() { return false; }

Tensor detail::decode_jpeg(std::span<const uint8_t>, int64_t, const std::string& name) {
  WEFT_FAIL(
      "decode_image: '{}' is a JPEG file, and weft was built without libjpeg; install libjpeg62-turbo-dev (Ubuntu: "
      "libjpeg-turbo8-dev) and build again",
      name);
}

#endif

}  // namespace weft::data
