// What tests of SIMD code compare with: arrays between untouchable borders, values whose sums and
// products floats hold exactly, and plain loops over doubles.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include "kernels/cpu/simd/staging.h"

namespace trainyard::kernels::cpu {

constexpr float kPoison = -77777;  // what was not written

// Gives memory that may be streamed to.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>& /*other*/) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* p, size_t /*count*/) { ::operator delete(p, kLine); }
  bool operator==(const LineAllocator&) const = default;
};

// An array with a border at either end that nobody may write; full of poison. On a cache line.
template <class T>
class Bordered {
 public:
  explicit Bordered(int64_t size) : size_(size), all_(size + 2 * kBorder, Poison()) {}
  explicit Bordered(const std::vector<T>& values) : Bordered(static_cast<int64_t>(values.size())) {
    std::copy(values.begin(), values.end(), data());
  }
  T* data() { return all_.data() + kBorder; }
  const T* data() const { return all_.data() + kBorder; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data()[i]; }
  T operator[](int64_t i) const { return data()[i]; }
  std::vector<T> Values() const { return {data(), data() + size_}; }
  bool BordersIntact() const {
    for (int64_t i = 0; i < kBorder; ++i) {
      if (all_[i] != Poison() || all_[kBorder + size_ + i] != Poison()) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kBorder = 64;
  static T Poison() { return static_cast<T>(static_cast<int64_t>(kPoison)); }
  int64_t size_;
  std::vector<T, LineAllocator<T>> all_;
};

class Draws {
 public:
  explicit Draws(uint32_t seed) : random_(seed) {}
  int Int(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }
  bool Chance(double of) { return std::bernoulli_distribution(of)(random_); }
  float Normal() { return normal_(random_); }
  std::vector<float> Normals(int64_t count) {
    std::vector<float> values(count);
    for (float& v : values) v = Normal();
    return values;
  }
  // Quarters from -2 to 2: equal ones are many, and whatever is computed of a few is exact.
  float Quarter() { return static_cast<float>(Int(-8, 8)) / 4; }
  std::vector<float> Quarters(int64_t count) {
    std::vector<float> values(count);
    for (float& v : values) v = Quarter();
    return values;
  }
  // The same with some NaN and infinities among them.
  std::vector<float> Wild(int64_t count) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    std::vector<float> values = Quarters(count);
    for (float& v : values) {
      if (Chance(0.02)) v = std::numeric_limits<float>::quiet_NaN();
      if (Chance(0.02)) v = Chance(0.5) ? kInfinity : -kInfinity;
    }
    return values;
  }
  std::vector<uint8_t> Bytes(int64_t count, int from, int to) {
    std::vector<uint8_t> values(count);
    for (uint8_t& v : values) v = static_cast<uint8_t>(Int(from, to));
    return values;
  }

 private:
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

// Not finite alike, and together within `tolerance` in the relative L2 norm.
template <class Found>
void ExpectClose(const Found& found, const std::vector<double>& expected, double tolerance,
                 const char* what) {
  ASSERT_EQ(static_cast<size_t>(found.size()), expected.size()) << what;
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double f = static_cast<double>(found[i]), e = expected[i];
    if (std::isfinite(e)) {
      ASSERT_TRUE(std::isfinite(f)) << what << " [" << i << "] is " << f << ", expected " << e;
      difference += (f - e) * (f - e);
      norm += e * e;
    } else {
      ASSERT_TRUE(std::isnan(e) ? std::isnan(f) : f == e)
          << what << " [" << i << "] is " << f << ", expected " << e;
    }
  }
  EXPECT_LE(std::sqrt(difference), tolerance * std::sqrt(norm)) << what;
}

// A view of any kind, with the arrays that it points to.
struct DrawnView {
  std::vector<float> mean, scale, shift;
  View view;

  DrawnView(Draws& draws, int channels, bool norm, float slope)
      : mean(draws.Quarters(channels)),
        scale(draws.Quarters(channels)),
        shift(draws.Quarters(channels)) {
    if (norm) view = {mean.data(), scale.data(), shift.data()};
    view.slope = slope;
  }
  static DrawnView Any(Draws& draws, int channels) {
    const float slopes[] = {0, 0.25f, 1};
    return DrawnView(draws, channels, draws.Chance(0.5), slopes[draws.Int(0, 2)]);
  }
};

inline double PlainAct(double v, double slope) { return v > 0 ? v : slope * v; }
// What act is given.
inline double PlainArgument(const View& view, int channel, double x) {
  if (view.scale == nullptr) return x;
  return (x - double{view.mean[channel]}) * double{view.scale[channel]} +
         double{view.shift[channel]};
}
inline double PlainView(const View& view, int channel, double x) {
  return PlainAct(PlainArgument(view, channel, x), double{view.slope});
}

}  // namespace trainyard::kernels::cpu
