#include "worker/engine/morph/align.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "network/shapes.h"
#include "network/signs.h"
#include "worker/engine/morph/window.h"

namespace trainyard::engine {
namespace {

using network::BatchNorm;
using network::Conv;
using network::Dense;
using network::Dropout;
using network::Flatten;
using network::GlobalAvgPool;
using network::Layer;
using network::Pool;
using network::Relu;
using network::Residual;
using network::Shape;

// What a change of the function costs: more than any likeness is worth.
constexpr int kLoss = 16;

// Layers of the child that a parent's dense layer may become.
constexpr size_t kMirrorMax = 31;

bool SameSides(const Shape& a, const Shape& b) {
  return a.height == b.height && a.width == b.width;
}

struct Place {
  const Layer* layer;
  Shape in, out;
};

std::vector<Place> PlacesOf(const Sequence& sequence) {
  std::vector<Place> places;
  Shape shape = sequence.input;
  for (const Layer& layer : sequence.layers) {
    const Shape out = network::OutputShape(layer, shape);
    places.push_back({&layer, shape, out});
    shape = out;
  }
  return places;
}

// Whether the child's layer can do what the parent's does, given the same.
struct Keeps {
  const Shape& parent;  // what goes in
  const Shape& child;
  bool non_negative;

  bool operator()(const Conv& p, const Conv& c) const {
    return PlaceIn(WindowOf(c, child), WindowOf(p, parent)) && c.filters >= p.filters &&
           (c.bias || !p.bias);
  }
  bool operator()(const Dense& p, const Dense& c) const {
    return c.units >= p.units && (c.bias || !p.bias);
  }
  bool operator()(const Pool& p, const Pool& c) const {
    return p.kind == c.kind && SameWindow(WindowOf(p, parent), WindowOf(c, child));
  }
  bool operator()(const Relu& p, const Relu& c) const {
    return non_negative || p.negative_slope == c.negative_slope;
  }
  bool operator()(const Flatten&, const Flatten&) const { return SameSides(parent, child); }
  bool operator()(const GlobalAvgPool&, const GlobalAvgPool&) const {
    return SameSides(parent, child);
  }
  bool operator()(const Residual& p, const Residual& c) const {
    const Shape parent_out = network::OutputShape({p}, parent);
    const Shape child_out = network::OutputShape({c}, child);
    return SameSides(parent, child) && SameSides(parent_out, child_out) &&
           child_out.channels >= parent_out.channels && (p.shortcut.empty() || !c.shortcut.empty());
  }
  template <class P, class C>
  bool operator()(const P&, const C&) const {
    return true;
  }
};

// Of two residuals, of 4: how far the kinds of their layers agree, from the first on.
int Likeness(const Residual& p, const Residual& c) {
  const size_t shorter = std::min(p.body.size(), c.body.size());
  const size_t longer = std::max(p.body.size(), c.body.size());
  size_t same = 0;
  while (same < shorter && p.body[same].op.index() == c.body[same].op.index()) ++same;
  const int other_kind = p.shortcut.empty() != c.shortcut.empty() ? 3 : 0;
  return static_cast<int>(4 * same / longer) - other_kind;
}

int MatchScore(const Place& parent, const Place& child, bool non_negative) {
  const auto& p = parent.layer->op;
  const auto& c = child.layer->op;
  const bool weights = std::holds_alternative<Conv>(p) || std::holds_alternative<Dense>(p) ||
                       std::holds_alternative<BatchNorm>(p) || std::holds_alternative<Residual>(p);
  int score = weights ? 4 : 2;
  if (parent.in.channels == child.in.channels) ++score;
  if (parent.out.channels == child.out.channels) ++score;
  if (const auto* residual = std::get_if<Residual>(&p)) {
    score += Likeness(*residual, std::get<Residual>(c));
  } else if (*parent.layer == *child.layer) {
    ++score;
  }
  if (!CanKeep(*parent.layer, parent.in, *child.layer, child.in, non_negative)) score -= kLoss;
  return score;
}

// How many layers from `at` on are dense - batch norms, dropouts - relu - dropouts - dense, wide
// enough for both signs of a dense layer of `units`; 0: they are not.
size_t MirrorLength(const std::vector<Place>& child, size_t at, int units) {
  const auto is = [&]<class Op>(size_t i, std::in_place_type_t<Op>) {
    return i < child.size() && std::holds_alternative<Op>(child[i].layer->op);
  };
  const auto* first = std::get_if<Dense>(&child[at].layer->op);
  if (first == nullptr || first->units / 2 < units) return 0;
  size_t i = at + 1;
  while (is(i, std::in_place_type<BatchNorm>) || is(i, std::in_place_type<Dropout>)) ++i;
  if (!is(i, std::in_place_type<Relu>)) return 0;
  ++i;
  while (is(i, std::in_place_type<Dropout>)) ++i;
  if (!is(i, std::in_place_type<Dense>)) return 0;
  const bool wide = std::get<Dense>(child[i].layer->op).units >= units;
  return wide && i + 1 - at <= kMirrorMax ? i + 1 - at : 0;
}

// The best ways to every pair of places, with and without non-negative values there.
class Aligner {
 public:
  Aligner(const Sequence& parent, const Sequence& child)
      : parent_(PlacesOf(parent)),
        child_(PlacesOf(child)),
        parent_input_(parent.input),
        ways_((parent_.size() + 1) * (child_.size() + 1)),
        scores_{Row(child_.size() + 1, kNowhere), Row(child_.size() + 1, kNowhere)} {}

  std::vector<Edit> Run(bool non_negative) {
    scores_[0][0][non_negative] = 0;
    for (size_t i = 0; i <= parent_.size(); ++i) {
      scores_[(i + 1) % 2].assign(child_.size() + 1, kNowhere);
      for (size_t j = 0; j <= child_.size(); ++j) {
        for (const bool sign : {true, false}) {
          if (scores_[i % 2][j][sign] != kNever) Extend({i, j, sign});
        }
      }
    }
    const std::array<int, 2>& last = scores_[parent_.size() % 2].back();
    return Trace(last[1] >= last[0]);
  }

 private:
  static constexpr int kNever = std::numeric_limits<int>::min();
  static constexpr std::array<int, 2> kNowhere{kNever, kNever};
  using Row = std::vector<std::array<int, 2>>;

  struct State {
    size_t parent, child;
    bool non_negative;
  };
  // One byte each: there may be 10,000 layers on either side.
  struct Way {
    uint8_t kind : 2 = 0;
    uint8_t non_negative : 1 = 0;  // before the edit
    uint8_t length : 5 = 1;        // of the child's layers
  };

  size_t Cell(size_t i, size_t j) const { return i * (child_.size() + 1) + j; }

  void Offer(const State& from, Edit::Kind kind, size_t length, const State& to, int gain) {
    const int score = scores_[from.parent % 2][from.child][from.non_negative] + gain;
    int& best = scores_[to.parent % 2][to.child][to.non_negative];
    if (score <= best) return;
    best = score;
    Way& way = ways_[Cell(to.parent, to.child)][to.non_negative];
    way.kind = static_cast<uint8_t>(kind);
    way.non_negative = from.non_negative;
    way.length = length & kMirrorMax;
  }

  void Extend(const State& at) {
    const auto [i, j, sign] = at;
    const Place* p = i < parent_.size() ? &parent_[i] : nullptr;
    const Place* c = j < child_.size() ? &child_[j] : nullptr;
    if (p != nullptr && c != nullptr && p->layer->op.index() == c->layer->op.index()) {
      Offer(at, Edit::Kind::kMatch, 1, {i + 1, j + 1, network::NonNegativeBehind(*p->layer, sign)},
            MatchScore(*p, *c, sign));
    }
    if (c != nullptr) {
      const Shape here = i == 0 ? parent_input_ : parent_[i - 1].out;
      const bool free = CanBeIdentity(*c->layer, c->in, here, sign);
      const bool behind = free && !std::holds_alternative<Relu>(c->layer->op)
                              ? sign
                              : network::NonNegativeBehind(*c->layer, sign);
      Offer(at, Edit::Kind::kInsert, 1, {i, j + 1, behind}, free ? 0 : -kLoss);
    }
    if (p != nullptr) {
      Offer(at, Edit::Kind::kRemove, 1, {i + 1, j, sign},
            IsIdentity(*p->layer, p->in, sign) ? 0 : -kLoss);
    }
    if (p != nullptr && c != nullptr && std::holds_alternative<Dense>(p->layer->op)) {
      const size_t length = MirrorLength(child_, j, p->out.channels);
      if (length > 0) Offer(at, Edit::Kind::kMirror, length, {i + 1, j + length, false}, 3);
    }
  }

  std::vector<Edit> Trace(bool sign) const {
    size_t i = parent_.size(), j = child_.size();
    std::vector<Edit> edits;
    while (i > 0 || j > 0) {
      const Way& way = ways_[Cell(i, j)][sign];
      const auto kind = static_cast<Edit::Kind>(way.kind);
      if (kind != Edit::Kind::kInsert) --i;
      if (kind != Edit::Kind::kRemove) j -= way.length;
      sign = way.non_negative;
      edits.push_back({kind, i, j, way.length});
    }
    std::reverse(edits.begin(), edits.end());
    return edits;
  }

  const std::vector<Place> parent_, child_;
  const Shape parent_input_;
  std::vector<std::array<Way, 2>> ways_;  // the edit by which each state is reached
  std::array<Row, 2> scores_;             // of this parent's place and the next
};

struct IdentityOf {
  const Shape& in;
  const Shape& parent;
  bool non_negative;

  bool operator()(const Conv& conv) const {
    const Conv point{.filters = in.channels, .kernel = {1, 1}};
    return PlaceIn(WindowOf(conv, in), WindowOf(point, in)) && conv.filters >= parent.channels;
  }
  bool operator()(const Dense& dense) const { return dense.units >= parent.channels; }
  bool operator()(const Residual& residual) const {
    if (Silencer(residual.body) == residual.body.size()) return false;
    Shape shape = in;
    for (const Layer& layer : residual.shortcut) {
      if (!CanBeIdentity(layer, shape, parent, non_negative)) return false;
      shape = network::OutputShape(layer, shape);
    }
    return true;
  }
  bool operator()(const BatchNorm&) const { return true; }
  template <class Other>
  bool operator()(const Other& other) const {
    return IsIdentity({other}, in, non_negative);
  }
};

}  // namespace

std::vector<Edit> Align(const Sequence& parent, const Sequence& child, bool non_negative) {
  return Aligner(parent, child).Run(non_negative);
}

bool CanKeep(const Layer& parent, const Shape& parent_in, const Layer& child, const Shape& child_in,
             bool non_negative) {
  return std::visit(Keeps{parent_in, child_in, non_negative}, parent.op, child.op);
}

bool CanBeIdentity(const Layer& layer, const Shape& in, const Shape& parent, bool non_negative) {
  return std::visit(IdentityOf{in, parent, non_negative}, layer.op);
}

bool IsIdentity(const Layer& layer, const Shape& in, bool non_negative) {
  if (std::holds_alternative<Dropout>(layer.op)) return true;
  if (std::holds_alternative<Relu>(layer.op)) return non_negative;
  if (const auto* pool = std::get_if<Pool>(&layer.op)) {
    return pool->kernel == network::Extent{1, 1} && network::OutputShape(layer, in) == in;
  }
  const bool reshapes =
      std::holds_alternative<Flatten>(layer.op) || std::holds_alternative<GlobalAvgPool>(layer.op);
  return reshapes && in.flat();
}

size_t Silencer(const std::vector<Layer>& body) {
  for (size_t i = body.size(); i-- > 0;) {
    const Layer& layer = body[i];
    if (std::holds_alternative<BatchNorm>(layer.op) || std::holds_alternative<Conv>(layer.op) ||
        std::holds_alternative<Dense>(layer.op)) {
      return i;
    }
    const auto* relu = std::get_if<Relu>(&layer.op);
    const bool stops = relu != nullptr && relu->negative_slope == 0;
    if (stops || std::holds_alternative<Residual>(layer.op)) break;
  }
  return body.size();
}

}  // namespace trainyard::engine
