#pragma once

#include <functional>
#include <memory>

struct CUstream_st;

// Streams of the emulation: queues whose work is done when something needs it (a synchronisation, a query, a copy to
// pageable memory) or now and then, in a seeded random order that keeps what CUDA promises: order within a stream,
// events, and the legacy default stream, which waits for the blocking streams of its device and they for it.
namespace weft::gpu::emulate {

struct Point;  // what an event recorded

// Work for `stream` (null: the default one of the current device). It runs later, on any host thread; what it throws
// comes out of report_errors(). Host bodies of library calls come in here, too.
void put(CUstream_st* stream, std::function<void()> work);
// Work that starts no earlier than `point`.
void put_wait(CUstream_st* stream, std::shared_ptr<Point> point);
std::shared_ptr<Point> put_point(CUstream_st* stream);

CUstream_st* make_stream(int device, bool blocking);
void drop_stream(CUstream_st* stream);
int device_of_stream(CUstream_st* stream);
// `stream`, or the default one of `device`.
CUstream_st* stream_or_default(CUstream_st* stream, int device);

// Does work, of other streams too, until there is none left to wait for.
void finish(CUstream_st* stream);
void finish_device(int device);
void finish_point(const Point& point);
void finish_all();
// The same as queries: some work is done first.
bool is_finished(CUstream_st* stream);
bool is_finished(const Point& point);
double milliseconds(const Point& from, const Point& to);

// Throws, once, what the first work that failed threw.
void report_errors();
// Of this host thread.
int& current_device();

}  // namespace weft::gpu::emulate
