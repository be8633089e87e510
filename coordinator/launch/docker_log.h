// A container's output, taken from the engine's log stream into a file of this machine that only
// grows: what a coordinator before us had saved already is not saved again.
//
// Beside the file lies a note of how far it is. It is written after the text, so that a crash
// between the two costs nothing: the text behind the note is cut off and comes again, the same.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trainyard::coordinator {

class ContainerLog {
 public:
  // Appends to what is there of another container.
  static absl::StatusOr<std::unique_ptr<ContainerLog>> Open(const std::string& path,
                                                            const std::string& container,
                                                            int64_t bytes_max = int64_t{64} << 20);
  ~ContainerLog();

  // From where on the stream is wanted, as GET /containers/ID/logs takes it: "SECONDS.NANOSECONDS".
  // Every stream must be told of by this.
  std::string BeginStream();
  // The next bytes of the stream, which has timestamps; cut anywhere. DATA_LOSS: it is none.
  absl::Status Feed(std::string_view bytes);
  // It has all that it may hold, and says so itself.
  bool full() const { return size_ >= bytes_max_; }
  // All is saved: no note is needed any more.
  void Finish();

 private:
  ContainerLog(std::string path, std::string container, int64_t bytes_max, int fd, int note_fd);
  absl::Status Continue();
  absl::Status Write(std::string_view text);
  absl::Status WriteNote();

  const std::string path_;
  const std::string container_;
  const int64_t bytes_max_;
  const int fd_;
  const int note_fd_;
  int64_t size_ = 0;
  std::string latest_;     // timestamp of the latest entry that was written
  std::string skip_upto_;  // entries up to this timestamp were written before this stream
  std::string pending_;    // a frame that is not whole yet
};

}  // namespace trainyard::coordinator
