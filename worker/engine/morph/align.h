// Which layers of a child are which of its parent's: the alignment of two sequences that keeps the
// parent's function where any does, and as many of its weights, in places like theirs, as it can
// (Needleman and Wunsch, 1970). Of equals the first: the same for the same networks.
#pragma once

#include <vector>

#include "network/network.h"

namespace trainyard::engine {

struct Edit {
  enum class Kind {
    kMatch,   // the parent's layer is the child's
    kInsert,  // the child has one more
    kRemove,  // the parent has one more
    kMirror,  // the parent's dense layer became dense - relu - dense, `length` layers of the child:
              // relu(z) - relu(-z) = z
  };
  Kind kind{};
  size_t parent = 0, child = 0;  // where both stand before it
  size_t length = 1;
};

struct Sequence {
  const std::vector<network::Layer>& layers;
  network::Shape input;
};

// `non_negative`: what goes into the parent is.
std::vector<Edit> Align(const Sequence& parent, const Sequence& child, bool non_negative);

// Whether the child's layer can do what the parent's, of the same kind, does with the same values.
bool CanKeep(const network::Layer& parent, const network::Shape& parent_in,
             const network::Layer& child, const network::Shape& child_in, bool non_negative);

// Whether a layer put in, or taken out, changes nothing: the identity can be made of it, or is it.
// `parent`: the shape of the parent's values there.
bool CanBeIdentity(const network::Layer& layer, const network::Shape& in,
                   const network::Shape& parent, bool non_negative);
bool IsIdentity(const network::Layer& layer, const network::Shape& in, bool non_negative);

// The index of the layer whose zeros silence a residual's body without stopping it from learning:
// its last batch norm, conv or dense layer. layers.size(): there is none, since a relu follows.
size_t Silencer(const std::vector<network::Layer>& body);

}  // namespace trainyard::engine
