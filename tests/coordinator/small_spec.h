// A job of a small network on images of 12 pixels and four classes, for tests that change it.
#pragma once

#include "network/training.h"
#include "proto/spec_convert.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard::coordinator {

inline network::Configuration SmallConfiguration() {
  network::Configuration small;
  small.network.input = {1, 12, 12};
  small.network.classes = 4;
  small.network.layers.push_back({network::Conv{8, {3, 3}, {1, 1}, {.same = true}, 1, true}});
  small.network.layers.push_back({network::Relu{}});
  small.network.layers.push_back({network::Flatten{}});
  small.network.layers.push_back({network::Dense{4, true}});
  small.training.epochs = 3;
  return small;
}

inline v1::JobSpec SmallSpec() {
  v1::JobSpec spec;
  spec.set_name("test");
  v1::Data& data = *spec.mutable_data();
  data.set_format(v1::DATA_FORMAT_IDX);
  data.set_classes(4);
  data.mutable_image()->set_channels(1);
  data.mutable_image()->set_height(12);
  data.mutable_image()->set_width(12);
  data.mutable_train()->add_images()->set_path("images.gz");
  data.mutable_train()->add_labels()->set_path("labels.gz");
  data.mutable_train()->set_count(1000);
  spec.mutable_validation()->set_fraction(0.2);
  spec.mutable_validation()->set_seed(1);
  spec.mutable_target()->set_metric(v1::Target::VAL_ACCURACY);
  spec.mutable_target()->set_bound(0.9);
  spec.mutable_tune()->set_enabled(true);
  spec.mutable_tune()->set_max_trials(5);
  *spec.mutable_configuration() = trainyard::ToProto(SmallConfiguration());
  return spec;
}

}  // namespace trainyard::coordinator
