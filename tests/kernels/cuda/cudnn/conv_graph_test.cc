// The padding that cuDNN is told gives the shape's output size, and a key tells all graphs apart.
#include "kernels/cuda/cudnn/conv_graph.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace trainyard::kernels::cuda::testing {
namespace {

// By cuDNN's rule: windows that start inside of the padded input and end there too.
int Outputs(int in, int kernel, int stride, int pad_before, int pad_after) {
  int count = 0;
  for (int begin = -pad_before; begin + kernel <= in + pad_after; begin += stride) ++count;
  return count;
}

TEST(PostPadding, GivesTheOutputsSizeOrSaysThatItDoesNot) {
  int exact = 0, inexact = 0;
  for (int in = 1; in <= 9; ++in) {
    for (int kernel = 1; kernel <= 4; ++kernel) {
      for (int stride = 1; stride <= 3; ++stride) {
        for (int pad = 0; pad < kernel; ++pad) {
          for (int out = 1; (out - 1) * stride - pad < in; ++out) {
            ConvShape shape{2, in, 7, 16, out, 7, 16, kernel, 1, stride, 1, pad, 0, 1};
            const PostPadding post = PostPaddingOf(shape);
            const int outputs = Outputs(in, kernel, stride, pad, post.bottom);
            EXPECT_EQ(post.exact, outputs == out) << in << " -> " << out << " kernel " << kernel
                                                  << " stride " << stride << " pad " << pad;
            EXPECT_GE(post.bottom, 0);
            EXPECT_EQ(post.right, 0);
            ++(post.exact ? exact : inexact);
          }
        }
      }
    }
  }
  EXPECT_GT(exact, 100);
  EXPECT_GT(inexact, 10);
}

TEST(PostPadding, TheTwoAxesDoNotMix) {
  const ConvShape shape{1, 8, 9, 16, 8, 4, 16, 3, 4, 1, 3, 1, 2, 1};
  const PostPadding post = PostPaddingOf(shape);
  EXPECT_EQ(post.bottom, 1);
  EXPECT_EQ(post.right, 2);
  EXPECT_TRUE(post.exact);
}

TEST(ConvGraphKey, TellsGraphsApartByEachField) {
  std::vector<ConvGraph> graphs(22);
  for (ConvGraph& graph : graphs) {
    graph.shape = {2, 11, 12, 16, 13, 14, 32, 3, 5, 6, 7, 1, 4, 1};
    graph.relu = true;
  }
  int* const sizes[] = {
      &graphs[0].shape.batch,     &graphs[1].shape.in_h,      &graphs[2].shape.in_w,
      &graphs[3].shape.in_c,      &graphs[4].shape.out_h,     &graphs[5].shape.out_w,
      &graphs[6].shape.out_c,     &graphs[7].shape.kernel_h,  &graphs[8].shape.kernel_w,
      &graphs[9].shape.stride_h,  &graphs[10].shape.stride_w, &graphs[11].shape.pad_top,
      &graphs[12].shape.pad_left, &graphs[13].shape.groups};
  for (int* size : sizes) *size += 100;
  graphs[14].pass = ConvPass::kBackwardData;
  graphs[15].pass = ConvPass::kBackwardFilter;
  graphs[16].precision = Precision::kTf32;
  graphs[17].precision = Precision::kBf16;
  graphs[18].bias = true;
  graphs[19].relu = false;
  graphs[20].slope = 0.1f;
  graphs[21].accumulate = true;
  std::set<std::string> keys = {
      ConvGraph{.shape = {2, 11, 12, 16, 13, 14, 32, 3, 5, 6, 7, 1, 4, 1}, .relu = true}.Key()};
  for (const ConvGraph& graph : graphs) {
    EXPECT_TRUE(keys.insert(graph.Key()).second) << graph.Key();
    EXPECT_EQ(graph.Key().find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing
