// The tensors of a network in its flat spans, by their names.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "network/shapes.h"

namespace trainyard::engine {

class Tensors {
 public:
  explicit Tensors(const std::vector<network::Parameter>& parameters) {
    size_t trainable = 0, statistics = 0;
    for (const network::Parameter& parameter : parameters) {
      size_t& count = parameter.trainable() ? trainable : statistics;
      const auto size = static_cast<size_t>(parameter.size());
      places_[parameter.name] = {count, size};
      count += size;
    }
  }

  // The tensor's part of `flat`, which holds all trainable values (or their moments), or all
  // statistics. Nothing where the network has none of this name, or `flat` is empty.
  template <class Flat>
  auto Of(const std::string& name, Flat& flat) const {
    const auto found = places_.find(name);
    if (found == places_.end() || flat.empty()) return std::span(flat).first(0);
    return std::span(flat).subspan(found->second.offset, found->second.size);
  }

 private:
  struct Place {
    size_t offset, size;
  };
  std::map<std::string, Place> places_;
};

}  // namespace trainyard::engine
