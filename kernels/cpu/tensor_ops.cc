#include "kernels/cpu/tensor_ops.h"

#include <algorithm>
#include <cmath>
#include <dnnl.hpp>
#include <string>

#include "kernels/augment.h"
#include "kernels/cpu/parallel.h"
#include "kernels/philox.h"

namespace trainyard::kernels::cpu {

void LoadImages(const ImageSet& images, std::span<const int32_t> indices, const float* table,
                const StepScalars* scalars, float* out) {
  const int64_t size = images.shape.size();
  ParallelFor(static_cast<int64_t>(indices.size()), size, [&](int64_t n) {
    const ImageDraws draws = scalars == nullptr
                                 ? ImageDraws{}
                                 : DrawAugmentation(*scalars, static_cast<int>(n), images.shape);
    AugmentImage(images.pixels.data() + indices[n] * size, images.shape, table, draws,
                 out + n * size);
  });
}

void DropoutMask(const Loops& loops, const Layout& layout, const StepScalars& scalars, int layer,
                 float rate, uint8_t* mask) {
  const PhiloxWords counter = StreamCounter(DropoutStream(scalars.seed, scalars.step, layer), 0);
  const std::array<uint32_t, 2> key = StreamKey(scalars.seed);
  const uint32_t threshold = DropoutThreshold(rate);
  if (layout.block == 1) {
    ParallelSpans(layout.floats(), [&](int64_t begin, int64_t end) {
      loops.keep(static_cast<uint64_t>(begin), end - begin, counter.data() + 1, key.data(),
                 threshold, mask + begin);
    });
    return;
  }
  const int64_t plane = layout.plane(), block = layout.block;
  ParallelFor(layout.tiles(), layout.tile() * 8, [&](int64_t tile) {
    // The channels of a tile are neighbours in canonical order too: one run of elements, dealt out
    // to the lanes.
    uint8_t* out = mask + tile * layout.tile();
    const int64_t image = tile / layout.blocks(), first = tile % layout.blocks() * block;
    const int64_t channels = std::min(block, layout.shape.channels - first);
    if (channels < block) std::fill(out, out + layout.tile(), uint8_t{0});
    uint64_t element = static_cast<uint64_t>((image * layout.shape.channels + first) * plane);
    uint8_t run[1024];
    for (int64_t lane = 0; lane < channels; ++lane) {
      for (int64_t begin = 0; begin < plane;) {
        // Short planes: as many whole lanes as fit; long ones: a part of a lane.
        const int64_t lanes = begin > 0 ? 1 : std::clamp<int64_t>(1024 / plane, 1, channels - lane);
        const int64_t count = std::min<int64_t>(lanes * (plane - begin), 1024);
        loops.keep(element, count, counter.data() + 1, key.data(), threshold, run);
        element += static_cast<uint64_t>(count);
        const int64_t length = std::min(plane - begin, count);
        for (int64_t l = 0; l < lanes; ++l) {
          for (int64_t i = 0; i < length; ++i) {
            out[(begin + i) * block + lane + l] = run[l * length + i];
          }
        }
        begin += length;
        if (begin >= plane) lane += lanes - 1;
      }
    }
  });
}

// ---- Batch norm ----

namespace {

// The scratch of tile (n, channel block): block doubles, then block doubles.
double* TileScratch(const BatchNorm& norm, double* scratch, int64_t tile) {
  return scratch + tile * norm.layout.block * 2;
}

struct Kept {
  float *mean, *inverse_std, *scale, *shift;
};

Kept KeptOf(const BatchNorm& norm, float* kept) {
  const int64_t c = norm.channels();
  return {kept, kept + c, kept + 2 * c, kept + 3 * c};
}

// Merges the images' moments of channel c, in order (Chan, Golub and LeVeque).
void MergeMoments(const BatchNorm& norm, double* scratch, int64_t c, double* mean,
                  double* variance) {
  const int64_t block = norm.layout.block, blocks = norm.layout.blocks();
  const double plane = static_cast<double>(norm.layout.plane());
  double total = 0, squares = 0;
  for (int64_t n = 0; n < norm.layout.batch; ++n) {
    const double* tile = TileScratch(norm, scratch, n * blocks + c / block) + c % block;
    const double delta = tile[0] - total;
    total += delta / static_cast<double>(n + 1);
    squares +=
        tile[block] + delta * delta * plane * static_cast<double>(n) / static_cast<double>(n + 1);
  }
  *mean = total;
  *variance = squares / (plane * norm.layout.batch);
}

}  // namespace

void BatchNormForward(const Loops& loops, const BatchNorm& norm, bool training, const float* x,
                      const BatchNormParameters& parameters, float* y, float* kept,
                      double* scratch) {
  const Layout& layout = norm.layout;
  const int64_t tile = layout.tile(), block = layout.block, plane = layout.plane();
  const Kept to = KeptOf(norm, kept);
  if (training) {
    ParallelFor(layout.tiles(), tile, [&](int64_t t) {
      double* out = TileScratch(norm, scratch, t);
      loops.moments(x + t * tile, plane, layout.block, out, out + block);
    });
  }
  const double count = static_cast<double>(layout.batch) * static_cast<double>(plane);
  ParallelFor(norm.channels(), 4 * layout.batch, [&](int64_t c) {
    if (c >= layout.shape.channels) {
      to.mean[c] = to.inverse_std[c] = to.scale[c] = to.shift[c] = 0;
      return;
    }
    double mean = parameters.running_mean[c], variance = parameters.running_var[c];
    if (training) {
      MergeMoments(norm, scratch, c, &mean, &variance);
      const double unbiased = count > 1 ? variance * count / (count - 1) : variance;
      const double momentum = norm.momentum;
      parameters.running_mean[c] =
          static_cast<float>(momentum * parameters.running_mean[c] + (1 - momentum) * mean);
      parameters.running_var[c] =
          static_cast<float>(momentum * parameters.running_var[c] + (1 - momentum) * unbiased);
    }
    const double inverse_std = 1 / std::sqrt(variance + norm.epsilon);
    to.mean[c] = static_cast<float>(mean);
    to.inverse_std[c] = static_cast<float>(inverse_std);
    to.scale[c] = static_cast<float>(parameters.gamma[c] * inverse_std);
    // What rounding the mean to a float loses goes into the shift.
    to.shift[c] = static_cast<float>(parameters.beta[c] +
                                     (static_cast<double>(to.mean[c]) - mean) * to.scale[c]);
  });
  ParallelFor(layout.tiles(), tile, [&](int64_t t) {
    const int64_t c = t % layout.blocks() * block;
    loops.normalise(x + t * tile, y + t * tile, plane, layout.block, to.mean + c, to.scale + c,
                    to.shift + c, norm.slope);
  });
}

void BatchNormBackward(const Loops& loops, const BatchNorm& norm, const float* x, const float* y,
                       float* kept, const float* gamma, float* dy, float* dgamma, float* dbeta,
                       double* scratch) {
  const Layout& layout = norm.layout;
  const int64_t tile = layout.tile(), block = layout.block, plane = layout.plane();
  const Kept from = KeptOf(norm, kept);
  ParallelFor(layout.tiles(), tile, [&](int64_t t) {
    double* out = TileScratch(norm, scratch, t);
    loops.norm_sums(x + t * tile, y == nullptr ? nullptr : y + t * tile, dy + t * tile, plane,
                    layout.block, from.mean + t % layout.blocks() * block, norm.slope, out,
                    out + block);
  });
  // The coefficients of dx = a dy + b (x - mean) + c: a and b take the place of scale and shift.
  const double count = static_cast<double>(layout.batch) * static_cast<double>(plane);
  float* third = reinterpret_cast<float*>(scratch + layout.batch * norm.channels() * 2);
  ParallelFor(norm.channels(), 4 * layout.batch, [&](int64_t c) {
    from.scale[c] = from.shift[c] = third[c] = 0;
    if (c >= layout.shape.channels) return;
    double sum = 0, dot = 0;
    for (int64_t n = 0; n < layout.batch; ++n) {
      const double* s = TileScratch(norm, scratch, n * layout.blocks() + c / block) + c % block;
      sum += s[0];
      dot += s[block];
    }
    const double inverse_std = from.inverse_std[c], a = gamma[c] * inverse_std;
    dgamma[c] = static_cast<float>(dot * inverse_std);
    dbeta[c] = static_cast<float>(sum);
    from.scale[c] = static_cast<float>(a);
    from.shift[c] = static_cast<float>(-a * inverse_std * inverse_std * dot / count);
    third[c] = static_cast<float>(-a * sum / count);
  });
  ParallelFor(layout.tiles(), tile, [&](int64_t t) {
    const int64_t c = t % layout.blocks() * block;
    loops.norm_backward(x + t * tile, dy + t * tile, plane, layout.block, from.mean + c,
                        from.scale + c, from.shift + c, third + c);
  });
}

// ---- Pools ----

namespace {

int64_t OutTile(const Window& w) { return int64_t{w.out_h} * w.out_w * w.block; }

}  // namespace

void MaxPoolForward(const Loops& loops, const Layout& in, const Window& window, const float* x,
                    float* y, uint16_t* index) {
  const int64_t from = in.tile(), to = OutTile(window);
  ParallelFor(in.tiles(), in.tile(),
              [&](int64_t t) { loops.max_pool(window, x + t * from, y + t * to, index + t * to); });
}

void MaxPoolBackward(const Loops& loops, const Layout& in, const Window& window, const float* dy,
                     const uint16_t* index, const float* sign, float slope, float* dx) {
  const int64_t from = in.tile(), to = OutTile(window);
  ParallelFor(in.tiles(), in.tile(), [&](int64_t t) {
    loops.max_pool_backward(window, dy + t * to, index + t * to,
                            sign == nullptr ? nullptr : sign + t * to, slope, dx + t * from);
  });
}

void AvgPoolForward(const Loops& loops, const Layout& in, const Window& window, const float* x,
                    float* y) {
  const int64_t from = in.tile(), to = OutTile(window);
  ParallelFor(in.tiles(), in.tile(),
              [&](int64_t t) { loops.avg_pool(window, x + t * from, y + t * to); });
}

void AvgPoolBackward(const Loops& loops, const Layout& in, const Window& window, const float* dy,
                     float* dx) {
  const int64_t from = in.tile(), to = OutTile(window);
  ParallelFor(in.tiles(), in.tile(),
              [&](int64_t t) { loops.avg_pool_backward(window, dy + t * to, dx + t * from); });
}

void GlobalPoolForward(const Loops& loops, const Layout& in, const float* x, float* y) {
  ParallelFor(in.tiles(), in.tile(), [&](int64_t t) {
    const int64_t image = t / in.blocks(), c = t % in.blocks() * in.block;
    float lanes[16];
    loops.global_pool(x + t * in.tile(), in.plane(), in.block, lanes);
    const int64_t real = std::min<int64_t>(in.block, in.shape.channels - c);
    std::copy_n(lanes, real, y + image * in.shape.channels + c);
  });
}

void GlobalPoolBackward(const Loops& loops, const Layout& in, const float* dy, float* dx) {
  ParallelFor(in.tiles(), in.tile(), [&](int64_t t) {
    const int64_t image = t / in.blocks(), c = t % in.blocks() * in.block;
    float lanes[16] = {};
    const int64_t real = std::min<int64_t>(in.block, in.shape.channels - c);
    std::copy_n(dy + image * in.shape.channels + c, real, lanes);
    loops.global_pool_backward(lanes, in.plane(), in.block, dx + t * in.tile());
  });
}

// ---- Weight gradient of a first layer ----

int FirstConvGradient::groups() const { return std::min(in.batch, 16); }

int64_t FirstConvGradient::scratch_floats() const {
  const int64_t images = int64_t{in.batch} * in.shape.channels * padded_h * padded_w;
  return images + groups() * out.blocks() * (taps() + 1) * out.block;
}

namespace {

// One image inside of its padding of zeros.
void PadImage(const FirstConvGradient& conv, const float* image, float* padded) {
  const ValueShape& shape = conv.in.shape;
  std::fill(padded, padded + int64_t{shape.channels} * conv.padded_h * conv.padded_w, 0.0f);
  for (int c = 0; c < shape.channels; ++c) {
    for (int y = 0; y < shape.height; ++y) {
      const float* from = image + (int64_t{c} * shape.height + y) * shape.width;
      std::copy_n(from, shape.width,
                  padded + (int64_t{c} * conv.padded_h + y + conv.window.pad_top) * conv.padded_w +
                      conv.window.pad_left);
    }
  }
}

}  // namespace

void FirstConvBackward(const Loops& loops, const FirstConvGradient& conv, const float* x,
                       const float* dy, float* dw, float* db, float* scratch) {
  const int64_t padded = int64_t{conv.in.shape.channels} * conv.padded_h * conv.padded_w;
  const int64_t batch = conv.in.batch, groups = conv.groups(), blocks = conv.out.blocks();
  const int64_t block = conv.out.block, taps = conv.taps(), sums = (taps + 1) * block;
  float* partial = scratch + batch * padded;
  ParallelFor(batch, padded, [&](int64_t n) {
    PadImage(conv, x + n * conv.in.shape.size(), scratch + n * padded);
  });
  FirstConv tile{conv.window, conv.in.shape.channels};
  tile.window.in_h = conv.padded_h;
  tile.window.in_w = conv.padded_w;
  tile.window.pad_top = tile.window.pad_left = 0;
  ParallelFor(groups * blocks, taps * conv.out.tile(), [&](int64_t i) {
    const int64_t group = i / blocks, b = i % blocks;
    float* out = partial + i * sums;
    std::fill(out, out + sums, 0.0f);
    for (int64_t n = group * batch / groups; n < (group + 1) * batch / groups; ++n) {
      loops.first_conv_weights(tile, scratch + n * padded, dy + (n * blocks + b) * conv.out.tile(),
                               out, out + taps * block);
    }
  });
  ParallelFor(conv.out.shape.channels, groups * taps, [&](int64_t o) {
    for (int64_t t = 0; t <= taps; ++t) {
      if (t == taps && db == nullptr) break;
      float sum = 0;
      for (int64_t g = 0; g < groups; ++g) {
        sum += partial[(g * blocks + o / block) * sums + t * block + o % block];
      }
      (t < taps ? dw[o * taps + t] : db[o]) = sum;
    }
  });
}

// ---- Matrix product ----

void Multiply(const Matrix& a, const Matrix& b, int64_t rows, int64_t columns, int64_t depth,
              float* out) {
  const dnnl_status_t status = dnnl_sgemm(a.transposed, b.transposed, rows, columns, depth, 1.0f,
                                          a.data, a.row, b.data, b.row, 0.0f, out, columns);
  if (status != dnnl_success) {
    throw Error("cpu: matrix product: oneDNN status " + std::to_string(status));
  }
}

// ---- Loss ----

void SoftmaxCrossEntropy(const LossInput& input, const float* logits, float* gradient, double* rows,
                         double* loss_sum, int64_t* correct) {
  const int64_t batch = static_cast<int64_t>(input.indices.size());
  const int classes = input.classes;
  const double smoothing = input.smoothing;
  ParallelFor(batch, classes * 32, [&](int64_t n) {
    const float* row = logits + n * classes;
    const int32_t label = input.images->labels[input.indices[n]];
    const double largest = *std::max_element(row, row + classes);
    double exponentials = 0;
    for (int k = 0; k < classes; ++k) exponentials += std::exp(row[k] - largest);
    const double log_sum = std::log(exponentials) + largest;
    double loss = 0;
    for (int k = 0; k < classes; ++k) {
      const double target = (k == label ? 1 - smoothing : 0) + smoothing / classes;
      loss += target * (log_sum - row[k]);
      if (gradient != nullptr) {
        gradient[n * classes + k] =
            static_cast<float>((std::exp(row[k] - log_sum) - target) / static_cast<double>(batch));
      }
    }
    rows[n] = loss;
  });
  *loss_sum = 0;
  *correct = 0;
  for (int64_t n = 0; n < batch; ++n) {
    const float* row = logits + n * classes;
    *loss_sum += rows[n];
    *correct +=
        std::max_element(row, row + classes) - row == input.images->labels[input.indices[n]];
  }
}

}  // namespace trainyard::kernels::cpu
