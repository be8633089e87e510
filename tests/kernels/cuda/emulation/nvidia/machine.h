// The emulated machine's streams and graphs for tests that see NVIDIA's headers, and memory that
// sanitizers watch to the byte.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

namespace trainyard::kernels::cuda::testing {

// A stream of the emulated machine; Replay() runs what Capture() recorded, and nothing else does.
class MachineStream {
 public:
  MachineStream();
  ~MachineStream();
  MachineStream(const MachineStream&) = delete;
  MachineStream& operator=(const MachineStream&) = delete;

  template <typename Stream>
  Stream As() const {
    return static_cast<Stream>(stream_);
  }
  void Capture(const std::function<void()>& calls);
  void Replay();

 private:
  void* stream_ = nullptr;
  void* graph_ = nullptr;
};

// `bytes` of memory at a multiple of 256, full of 0xff.
class Memory {
 public:
  explicit Memory(size_t bytes)
      : bytes_(bytes), data_(static_cast<unsigned char*>(::operator new(bytes, kAlignment))) {
    std::memset(data_.get(), 0xff, bytes);
  }
  void* data(int64_t offset = 0) const { return data_.get() + offset; }
  size_t bytes() const { return bytes_; }
  bool IsPoisoned() const {
    for (size_t i = 0; i < bytes_; ++i) {
      if (data_.get()[i] != 0xff) return false;
    }
    return true;
  }
  std::vector<unsigned char> Copy() const { return {data_.get(), data_.get() + bytes_}; }

 private:
  static constexpr std::align_val_t kAlignment{256};
  struct Free {
    void operator()(unsigned char* data) const { ::operator delete(data, kAlignment); }
  };
  size_t bytes_;
  std::unique_ptr<unsigned char, Free> data_;
};

}  // namespace trainyard::kernels::cuda::testing
