#include "proto/spec_convert.h"

#include <type_traits>

namespace trainyard {
namespace {

void Set(const network::Extent& from, v1::Extent* to) {
  to->set_height(from.height);
  to->set_width(from.width);
}

network::Extent Get(const v1::Extent& from) { return {from.height(), from.width()}; }

void Set(const network::Padding& from, v1::Padding* to) {
  to->set_same(from.same);
  to->set_top(from.top);
  to->set_bottom(from.bottom);
  to->set_left(from.left);
  to->set_right(from.right);
}

network::Padding Get(const v1::Padding& from) {
  return {from.same(), from.top(), from.bottom(), from.left(), from.right()};
}

void Set(const network::Layer& from, v1::Layer* to);
network::Layer Get(const v1::Layer& from);

template <typename Messages>
std::vector<network::Layer> GetAll(const Messages& from) {
  std::vector<network::Layer> layers;
  layers.reserve(from.size());
  for (const v1::Layer& layer : from) layers.push_back(Get(layer));
  return layers;
}

// One overload per layer: the compiler says which one a new layer lacks.
struct LayerSetter {
  v1::Layer* to;

  void operator()(const network::Conv& from) const {
    v1::Conv* conv = to->mutable_conv();
    conv->set_filters(from.filters);
    Set(from.kernel, conv->mutable_kernel());
    Set(from.stride, conv->mutable_stride());
    Set(from.padding, conv->mutable_padding());
    conv->set_groups(from.groups);
    conv->set_bias(from.bias);
  }
  void operator()(const network::BatchNorm& from) const {
    to->mutable_batch_norm()->set_momentum(from.momentum);
    to->mutable_batch_norm()->set_epsilon(from.epsilon);
  }
  void operator()(const network::Relu& from) const {
    to->mutable_relu()->set_negative_slope(from.negative_slope);
  }
  void operator()(const network::Pool& from) const {
    v1::Pool* pool = to->mutable_pool();
    pool->set_kind(from.kind == network::PoolKind::kMax ? v1::Pool::MAX : v1::Pool::AVERAGE);
    Set(from.kernel, pool->mutable_kernel());
    Set(from.stride, pool->mutable_stride());
    Set(from.padding, pool->mutable_padding());
  }
  void operator()(const network::GlobalAvgPool&) const { to->mutable_global_avg_pool(); }
  void operator()(const network::Dropout& from) const {
    to->mutable_dropout()->set_rate(from.rate);
  }
  void operator()(const network::Flatten&) const { to->mutable_flatten(); }
  void operator()(const network::Dense& from) const {
    to->mutable_dense()->set_units(from.units);
    to->mutable_dense()->set_bias(from.bias);
  }
  void operator()(const network::Residual& from) const {
    v1::Residual* residual = to->mutable_residual();
    for (const network::Layer& layer : from.body) Set(layer, residual->add_body());
    for (const network::Layer& layer : from.shortcut) Set(layer, residual->add_shortcut());
  }
};

void Set(const network::Layer& from, v1::Layer* to) { std::visit(LayerSetter{to}, from.op); }

network::Layer Get(const v1::Layer& from) {
  switch (from.op_case()) {
    case v1::Layer::kConv: {
      const v1::Conv& conv = from.conv();
      return {network::Conv{conv.filters(), Get(conv.kernel()), Get(conv.stride()),
                            Get(conv.padding()), conv.groups(), conv.bias()}};
    }
    case v1::Layer::kBatchNorm:
      return {network::BatchNorm{from.batch_norm().momentum(), from.batch_norm().epsilon()}};
    case v1::Layer::kRelu:
      return {network::Relu{from.relu().negative_slope()}};
    case v1::Layer::kPool: {
      const v1::Pool& pool = from.pool();
      const bool average = pool.kind() == v1::Pool::AVERAGE;
      return {network::Pool{average ? network::PoolKind::kAverage : network::PoolKind::kMax,
                            Get(pool.kernel()), Get(pool.stride()), Get(pool.padding())}};
    }
    case v1::Layer::kGlobalAvgPool:
      return {network::GlobalAvgPool{}};
    case v1::Layer::kDropout:
      return {network::Dropout{from.dropout().rate()}};
    case v1::Layer::kFlatten:
      return {network::Flatten{}};
    case v1::Layer::kDense:
      return {network::Dense{from.dense().units(), from.dense().bias()}};
    case v1::Layer::kResidual:
      return {
          network::Residual{GetAll(from.residual().body()), GetAll(from.residual().shortcut())}};
    case v1::Layer::OP_NOT_SET:
      break;
  }
  return {network::Conv{}};  // no filters: CheckNetwork refuses it
}

}  // namespace

v1::Network ToProto(const network::Network& network) {
  v1::Network message;
  message.mutable_input()->set_channels(network.input.channels);
  message.mutable_input()->set_height(network.input.height);
  message.mutable_input()->set_width(network.input.width);
  message.set_classes(network.classes);
  for (const network::Layer& layer : network.layers) Set(layer, message.add_layers());
  return message;
}

v1::Training ToProto(const network::Training& training) {
  v1::Training message;
  message.set_epochs(training.epochs);
  message.set_batch_size(training.batch_size);
  const network::Optimizer& optimizer = training.optimizer;
  v1::Optimizer* o = message.mutable_optimizer();
  o->set_kind(static_cast<v1::Optimizer::Kind>(static_cast<int>(optimizer.kind) + 1));
  o->set_learning_rate(optimizer.learning_rate);
  o->set_momentum(optimizer.momentum);
  o->set_nesterov(optimizer.nesterov);
  o->set_beta1(optimizer.beta1);
  o->set_beta2(optimizer.beta2);
  o->set_epsilon(optimizer.epsilon);
  o->set_weight_decay(optimizer.weight_decay);
  o->set_clip_norm(optimizer.clip_norm);
  const network::Schedule& schedule = training.schedule;
  v1::Schedule* s = message.mutable_schedule();
  s->set_kind(static_cast<v1::Schedule::Kind>(static_cast<int>(schedule.kind) + 1));
  s->set_warmup_epochs(schedule.warmup_epochs);
  s->set_step_epochs(schedule.step_epochs);
  s->set_step_factor(schedule.step_factor);
  s->set_final_factor(schedule.final_factor);
  s->set_peak_at(schedule.peak_at);
  v1::Augmentation* a = message.mutable_augmentation();
  a->set_flip(training.augmentation.flip);
  a->set_shift(training.augmentation.shift);
  a->set_cutout(training.augmentation.cutout);
  a->set_normalise(training.augmentation.normalise);
  message.set_label_smoothing(training.label_smoothing);
  message.set_initialisation(
      static_cast<v1::Training::Initialisation>(static_cast<int>(training.initialisation) + 1));
  message.set_seed(training.seed);
  message.set_precision(static_cast<v1::Training::Precision>(training.precision));
  return message;
}

v1::ProgramChanges ToProto(const network::ProgramChanges& changes) {
  v1::ProgramChanges message;
  message.set_epochs(changes.epochs);
  message.set_batch_size(changes.batch_size);
  message.set_optimizer(changes.optimizer);
  message.set_learning_rate(changes.learning_rate);
  message.set_width(changes.width);
  message.set_added_convs(changes.added_convs);
  message.set_added_dense(changes.added_dense);
  message.set_dropout(changes.dropout);
  return message;
}

v1::Configuration ToProto(const network::Configuration& configuration) {
  v1::Configuration message;
  const bool program = configuration.IsProgram();
  if (program) *message.mutable_changes() = ToProto(configuration.changes);
  if (!program || configuration.network != network::Network{}) {
    *message.mutable_network() = ToProto(configuration.network);
  }
  if (!program || configuration.training != network::Training{}) {
    *message.mutable_training() = ToProto(configuration.training);
  }
  return message;
}

network::Network FromProto(const v1::Network& message) {
  network::Network network;
  network.input = {message.input().channels(), message.input().height(), message.input().width()};
  network.classes = message.classes();
  network.layers = GetAll(message.layers());
  return network;
}

network::Training FromProto(const v1::Training& message) {
  // Enumerators of messages are those of the structs plus one: 0 is "unspecified", read as the
  // first.
  const auto kind = [](int value) { return value > 0 ? value - 1 : 0; };
  network::Training training;
  training.epochs = message.epochs();
  training.batch_size = message.batch_size();
  const v1::Optimizer& o = message.optimizer();
  training.optimizer = {static_cast<network::OptimizerKind>(kind(o.kind())),
                        o.learning_rate(),
                        o.momentum(),
                        o.nesterov(),
                        o.beta1(),
                        o.beta2(),
                        o.epsilon(),
                        o.weight_decay(),
                        o.clip_norm()};
  const v1::Schedule& s = message.schedule();
  training.schedule = {static_cast<network::ScheduleKind>(kind(s.kind())),
                       s.warmup_epochs(),
                       s.step_epochs(),
                       s.step_factor(),
                       s.final_factor(),
                       s.peak_at()};
  const v1::Augmentation& a = message.augmentation();
  training.augmentation = {a.flip(), a.shift(), a.cutout(), a.normalise()};
  training.label_smoothing = message.label_smoothing();
  training.initialisation = static_cast<network::Initialisation>(kind(message.initialisation()));
  training.seed = message.seed();
  // One that is not known yet is kept, for CheckTraining to refuse: not to train in another.
  training.precision = static_cast<network::Precision>(message.precision());
  return training;
}

network::ProgramChanges FromProto(const v1::ProgramChanges& message) {
  return {message.epochs(), message.batch_size(),  message.optimizer(),   message.learning_rate(),
          message.width(),  message.added_convs(), message.added_dense(), message.dropout()};
}

network::Configuration FromProto(const v1::Configuration& message) {
  network::Configuration configuration;
  if (message.has_changes()) configuration.changes = FromProto(message.changes());
  if (message.has_network()) configuration.network = FromProto(message.network());
  if (message.has_training()) configuration.training = FromProto(message.training());
  return configuration;
}

}  // namespace trainyard
