#include "kernels/cpu/convolution.h"

#include <algorithm>
#include <utility>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/loops.h"

namespace trainyard::kernels::cpu {
namespace {

// Sums of weight gradients that are kept apart, for so many threads to share: half as many where
// they are large, since all of them make a trip to memory.
constexpr int64_t kGroups = 16, kGroupFloats = 5 * 1024 * 1024;
// Floats that one thread adds up over all groups.
constexpr int64_t kSpan = 4096;

int64_t WholeGroups(int64_t parts) { return (parts + kGroups - 1) / kGroups * kGroups; }

int64_t WholeBlocks(int64_t floats) { return (floats + kBlock - 1) / kBlock * kBlock; }

template <typename T>
T* Behind(T* first, int64_t count) {
  return first == nullptr ? nullptr : first + count;
}

int64_t FrameFloats(const Frame& frame, int channels) {
  return int64_t{frame.height} * frame.width * channels;
}

ImageSize SizeOf(const Layout& layout) {
  return {layout.shape.height, layout.shape.width, layout.channels()};
}

void StagePlanes(const ValueShape& shape, const float* x, const Frame& frame, float* staged) {
  std::fill_n(staged, FrameFloats(frame, shape.channels), 0.0f);
  for (int c = 0; c < shape.channels; ++c) {
    for (int y = 0; y < shape.height; ++y, x += shape.width) {
      const int64_t row = int64_t{c} * frame.height + frame.top + y;
      std::copy_n(x, shape.width, staged + row * frame.width + frame.left);
    }
  }
}

Epilogue EpilogueOf(const Epilogue& first, const Layout& stored, int64_t image) {
  Epilogue epilogue = first;
  epilogue.keep = Behind(first.keep, image * stored.image());
  epilogue.codes = Behind(first.codes, image * stored.image());
  epilogue.mean = Behind(first.mean, image * stored.channels());
  epilogue.m2 = Behind(first.m2, image * stored.channels());
  return epilogue;
}

GradientView GradientOf(const GradientView& first, const Layout& stored, int64_t image) {
  GradientView gradient = first;
  gradient.dy = Behind(first.dy, image * stored.image());
  gradient.stored = Behind(first.stored, image * stored.image());
  gradient.codes = Behind(first.codes, image * stored.image());
  return gradient;
}

// A 1x1 kernel that strides over pixels is one without stride on those that it reads.
Stride StrideOver(const ConvGeometry& geometry) {
  const Op& op = *geometry.op;
  const bool reads_all = op.kernel_h > 1 || op.kernel_w > 1;
  const bool padded = op.pad_top + op.pad_left + op.pad_bottom + op.pad_right > 0;
  if (reads_all || padded || geometry.plain_input) return {};
  return {op.stride_h, op.stride_w};
}

Op OpOn(const ConvGeometry& geometry, const Stride& stride) {
  Op op = *geometry.op;
  if (stride != Stride()) op.stride_h = op.stride_w = 1;
  return op;
}

ConvGeometry GeometryOn(const ConvGeometry& geometry, const Stride& stride, const Op* op) {
  ConvGeometry dense = geometry;
  dense.op = op;
  if (stride != Stride()) {
    dense.in.height = geometry.out.height;
    dense.in.width = geometry.out.width;
  }
  return dense;
}

GradientEnd EndOf(const GradientEnd& first, const Layout& in, int64_t image) {
  GradientEnd end = first;
  end.stored = Behind(first.stored, image * in.image());
  for (int i = 0; i < end.sums_count; ++i) {
    NormSums& sums = end.sums[i];
    sums.stored += image * in.image();
    sums.sum += image * in.channels();
    sums.dot += image * in.channels();
  }
  return end;
}

}  // namespace

Pitch PitchOf(const Layout& layout, const Stride& stride) {
  return {int64_t{layout.shape.width} * layout.channels() * stride.y,
          int64_t{layout.channels()} * stride.x};
}

void AddSparse(const SparseGradient& sparse, int64_t image, const Pitch& pitch, float* to) {
  AddPixels(SizeOf(sparse.layout), sparse.g + image * sparse.layout.image(),
            {pitch.y * sparse.stride.y, pitch.x * sparse.stride.x}, to);
}

// A thread's scratch: images of a pack, one behind another.
struct Convolution::Staged {
  float* in = nullptr;
  float* out = nullptr;
  float* dx = nullptr;
  float* core = nullptr;
};

Convolution::Convolution(const ConvGeometry& geometry, bool pools)
    : Convolution(geometry, pools, ChooseBatchCore(geometry)) {}

Convolution::Convolution(const ConvGeometry& geometry, bool pools, std::unique_ptr<BatchCore> batch)
    : whole_{geometry.batch, geometry.in},
      stride_(StrideOver(geometry)),
      op_(OpOn(geometry, stride_)),
      geometry_(GeometryOn(geometry, stride_, &op_)),
      batch_(std::move(batch)),
      core_(batch_ == nullptr ? ChooseConvCore(geometry_) : nullptr),
      pack_(batch_ == nullptr ? core_->pack() : 1),
      in_{geometry.batch, geometry_.in},
      out_{geometry.batch, geometry.out},
      stored_(out_) {
  if (pools) {
    stored_.shape.height /= 2;
    stored_.shape.width /= 2;
  }
  in_frame_ = FrameFloats(core().input_frame(),
                          geometry.plain_input ? geometry.in.channels : in_.channels());
  out_frame_ = FrameFloats(core().output_frame(), out_.channels());
}

const ConvWay& Convolution::core() const {
  return batch_ != nullptr ? static_cast<const ConvWay&>(*batch_) : *core_;
}

Convolution::Images Convolution::PartOf(const Images& images, int part, int parts) {
  const int64_t count = images.count;
  const int begin = static_cast<int>(count * part / parts);
  const int end = static_cast<int>(count * (part + 1) / parts);
  return {images.first + begin, end - begin};
}

bool Convolution::WorthThreads(int images) const {
  constexpr int kPasses = 8;  // over an image, at least: staging, products, draining
  return images * (in_frame_ + out_frame_) * kPasses >= kWorthThreads;
}

int64_t Convolution::FloatsOfGroup() const { return core().sum_floats() + out_.channels(); }

int Convolution::groups() const {
  if (batch_ != nullptr) return 1;
  const int64_t groups = kGroups * FloatsOfGroup() <= kGroupFloats ? kGroups : kGroups / 2;
  return static_cast<int>(std::min<int64_t>(groups, geometry_.batch));
}

int64_t Convolution::group_floats() const {
  if (batch_ != nullptr) return batch_->sum_floats() + int64_t{batch_->chunk()} * out_.channels();
  return groups() * FloatsOfGroup();
}

int64_t Convolution::chunk_floats() const {
  return batch_ == nullptr ? 0 : batch_->input_floats() + batch_->output_floats();
}

int64_t Convolution::scratch_floats() const {
  return 2 * WholeBlocks(pack_ * in_frame_) + WholeBlocks(pack_ * out_frame_) +
         (core_ == nullptr ? 0 : WholeBlocks(core_->scratch_floats()));
}

Convolution::Staged Convolution::StagedIn(float* scratch) const {
  Staged staged;
  staged.in = scratch;
  staged.dx = staged.in + WholeBlocks(pack_ * in_frame_);
  staged.out = staged.dx + WholeBlocks(pack_ * in_frame_);
  staged.core = staged.out + WholeBlocks(pack_ * out_frame_);
  return staged;
}

void Convolution::StageImage(const float* x, const View& view, int64_t image, float* staged) const {
  if (geometry_.plain_input) {
    StagePlanes(geometry_.in, x + image * geometry_.in.size(), core().input_frame(), staged);
  } else {
    StageInput(SizeOf(in_), x + image * whole_.image(), PitchOf(whole_, stride_), view,
               core().input_frame(), staged);
  }
}

void Convolution::DrainImage(const ForwardCall& call, int64_t image, const float* staged) const {
  DrainOutput(SizeOf(out_), core().output_frame().width, staged,
              EpilogueOf(call.epilogue, stored_, image), call.stored + image * stored_.image());
}

void Convolution::StageImageGradient(const BackwardCall& call, int64_t image, float* staged,
                                     float* bias_sums) const {
  StageGradient(SizeOf(stored_), GradientOf(call.gradient, stored_, image), core().output_frame(),
                staged, call.db == nullptr ? nullptr : bias_sums);
}

void Convolution::DrainImageGradient(const BackwardCall& call, int64_t image, float* staged) const {
  const Frame frame = core().input_frame();
  if (call.more.g != nullptr) {
    const Pitch pitch{int64_t{frame.width} * in_.channels(), in_.channels()};
    AddSparse(call.more, image, pitch, staged + frame.top * pitch.y + frame.left * pitch.x);
  }
  DrainGradient(SizeOf(in_), frame, staged, call.write, call.dx + image * in_.image(),
                EndOf(call.end, in_, image));
}

int64_t Convolution::items() const {
  return batch_ != nullptr ? batch_->chunk() : std::max(ForwardPacks(), groups());
}

// Few packs are as many as groups, so that threads share them evenly.
int Convolution::ForwardPacks() const {
  const int packs = PacksOf(geometry_.batch);
  if (packs >= 2 * kGroups) return packs;
  return static_cast<int>(std::min<int64_t>(WholeGroups(packs), geometry_.batch));
}

void Convolution::Forward(const ForwardCall& call) const {
  if (batch_ != nullptr) {
    for (int first = 0; first < geometry_.batch; first += batch_->chunk()) {
      ForwardChunk(call, first, std::min(batch_->chunk(), geometry_.batch - first));
    }
    return;
  }
  const int packs = ForwardPacks();
#pragma omp parallel for schedule(dynamic) if (WorthThreads(geometry_.batch))
  for (int pack = 0; pack < packs; ++pack) {
    ForwardPack(call, PartOf({0, geometry_.batch}, pack, packs),
                StagedIn(call.scratch.Of(pack, packs)));
  }
}

void Convolution::Backward(const BackwardCall& call) const {
  batch_ != nullptr ? BackwardInChunks(call) : BackwardInGroups(call);
}

void Convolution::ForwardPack(const ForwardCall& call, const Images& images,
                              const Staged& staged) const {
  const int64_t first = images.first;
  for (int i = 0; i < images.count; ++i) {
    StageImage(call.x, call.view, first + i, staged.in + i * in_frame_);
  }
  core_->Forward(images.count, staged.in, call.packed, staged.core, staged.out);
  for (int i = 0; i < images.count; ++i) DrainImage(call, first + i, staged.out + i * out_frame_);
}

void Convolution::BackwardPack(const BackwardCall& call, const Images& images, const Staged& staged,
                               float* sums) const {
  const int64_t first = images.first;
  for (int i = 0; i < images.count; ++i) {
    StageImage(call.x, call.view, first + i, staged.in + i * in_frame_);
    StageImageGradient(call, first + i, staged.out + i * out_frame_, sums + core_->sum_floats());
  }
  const bool data = call.dx != nullptr;
  core_->Backward(images.count, staged.in, staged.out, call.packed_backward, staged.core,
                  data ? staged.dx : nullptr, sums);
  for (int i = 0; data && i < images.count; ++i) {
    DrainImageGradient(call, first + i, staged.dx + i * in_frame_);
  }
}

void Convolution::BackwardInGroups(const BackwardCall& call) const {
  const int count = groups();
  const int64_t floats = FloatsOfGroup();
#pragma omp parallel if (WorthThreads(geometry_.batch))
  {
#pragma omp for schedule(dynamic)
    for (int group = 0; group < count; ++group) {
      float* sums = call.group_sums + group * floats;
      std::fill_n(sums, floats, 0.0f);
      const Images images = PartOf({0, geometry_.batch}, group, count);
      const int packs = PacksOf(images.count);
      const Staged staged = StagedIn(call.scratch.Of(group, count));
      for (int pack = 0; pack < packs; ++pack) {
        BackwardPack(call, PartOf(images, pack, packs), staged, sums);
      }
    }
#pragma omp for schedule(static)
    for (int64_t begin = 0; begin < floats; begin += kSpan) {
      const int64_t span = std::min(kSpan, floats - begin);
      for (int group = 1; group < count; ++group) {
        Accumulate(span, call.group_sums + group * floats + begin, call.group_sums + begin);
      }
    }
  }
  core_->Finish(call.group_sums, call.dw);
  if (call.db != nullptr) {
    std::copy_n(call.group_sums + core_->sum_floats(), out_.channels(), call.db);
  }
}

void Convolution::ForwardChunk(const ForwardCall& call, int first, int images) const {
  float *u = call.chunk, *m = call.chunk + batch_->input_floats();
#pragma omp parallel for schedule(static) if (WorthThreads(images))
  for (int i = 0; i < images; ++i) {
    const Staged staged = StagedIn(call.scratch.Of(i, images));
    StageImage(call.x, call.view, first + i, staged.in);
    batch_->LoadInput(i, staged.in, u);
  }
  batch_->MultiplyForward(images, u, call.packed, m);
#pragma omp parallel for schedule(static) if (WorthThreads(images))
  for (int i = 0; i < images; ++i) {
    const Staged staged = StagedIn(call.scratch.Of(i, images));
    batch_->StoreOutput(i, m, staged.out);
    DrainImage(call, first + i, staged.out);
  }
}

void Convolution::BackwardChunk(const BackwardCall& call, int first, int images) const {
  float *u = call.chunk, *z = call.chunk + batch_->input_floats();
#pragma omp parallel for schedule(static) if (WorthThreads(images))
  for (int i = 0; i < images; ++i) {
    const Staged staged = StagedIn(call.scratch.Of(i, images));
    StageImage(call.x, call.view, first + i, staged.in);
    batch_->LoadInput(i, staged.in, u);
    StageImageGradient(call, first + i, staged.out,
                       call.group_sums + batch_->sum_floats() + int64_t{i} * out_.channels());
    batch_->LoadGradient(i, staged.out, z);
  }
  batch_->AddWeightGradient(images, u, z, call.group_sums);
  if (call.dx == nullptr) return;
  batch_->MultiplyBackward(images, z, call.packed_backward, u);
#pragma omp parallel for schedule(static) if (WorthThreads(images))
  for (int i = 0; i < images; ++i) {
    const Staged staged = StagedIn(call.scratch.Of(i, images));
    batch_->StoreGradient(i, u, staged.dx);
    DrainImageGradient(call, first + i, staged.dx);
  }
}

void Convolution::BackwardInChunks(const BackwardCall& call) const {
  ParallelSpans(group_floats(), [&](int64_t begin, int64_t end) {
    std::fill(call.group_sums + begin, call.group_sums + end, 0.0f);
  });
  for (int first = 0; first < geometry_.batch; first += batch_->chunk()) {
    BackwardChunk(call, first, std::min(batch_->chunk(), geometry_.batch - first));
  }
  batch_->Finish(call.group_sums, call.dw);
  if (call.db == nullptr) return;
  std::fill_n(call.db, out_.channels(), 0.0f);
  for (int i = 0; i < batch_->chunk(); ++i) {
    Accumulate(out_.channels(),
               call.group_sums + batch_->sum_floats() + int64_t{i} * out_.channels(), call.db);
  }
}

}  // namespace trainyard::kernels::cpu
