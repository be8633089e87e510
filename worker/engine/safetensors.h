// The safetensors file format, float tensors only: 8 bytes of header length (little-endian), a JSON
// header {"__metadata__": {...}, "name": {"dtype", "shape", "data_offsets"}}, then the tensors'
// bytes without a hole. Checkpoints and models are written in it; Python's `safetensors` reads it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trainyard::engine {

// A tensor to write. Not owned.
struct TensorView {
  std::string name;
  std::vector<int64_t> dims;
  std::span<const float> values;
};

using Metadata = std::vector<std::pair<std::string, std::string>>;

// The file's bytes, tensors in the order given. The first metadata entry becomes `checksum`: 16 hex
// digits over all other bytes, so that a flipped bit is noticed by whoever reads the file.
std::string WriteSafetensors(const std::vector<TensorView>& tensors, const Metadata& metadata);

// A tensor found in a file; its bytes are [begin, end) of the file.
struct TensorEntry {
  std::string name;
  std::vector<int64_t> dims;
  size_t begin = 0;
  size_t end = 0;
};

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;
  std::vector<TensorEntry> tensors;  // in the order of their bytes
};

// Files of ours have one; those of others do not.
enum class Checksum { kRequired, kIfThere };

// Verifies everything that can be verified: header length, JSON, keys, types, shapes against
// lengths, that the tensors cover the data without hole or overlap, the checksum. Throws
// kernels::Error saying where. Allocates in proportion to the header at most.
SafetensorsFile ParseSafetensors(std::string_view bytes, Checksum checksum = Checksum::kRequired);

// Copies a tensor's values to the end of `out`.
void AppendValues(std::string_view bytes, const TensorEntry& tensor, std::vector<float>* out);

}  // namespace trainyard::engine
