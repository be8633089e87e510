// A job's request.
#include "coordinator/convert/stored_parts.h"
#include "coordinator/convert/tuning.h"
#include "proto/spec_convert.h"

// Each Put takes its record apart by structured binding, so that a field added to core does not
// compile until it is stored too.
namespace trainyard::coordinator {
namespace {

void Put(const core::Target& from, stored::Target* to) {
  const auto& [metric, bound, confidence, images] = from;
  to->set_metric(StoredName(metric));
  to->set_bound(bound);
  to->set_confidence(confidence);
  to->set_images(images);
}

void Get(const stored::Target& from, core::Target* to, StoredReader& reader) {
  reader.Get(from.metric(), "request.target.metric", &to->metric);
  to->bound = from.bound();
  to->confidence = from.confidence();
  to->images = from.images();
}

void Put(const core::TuningLimits& from, stored::TuningLimits* to) {
  *to->mutable_tune() = ToTune(from);
  to->set_architecture(from.architecture);
  to->set_no_convolutions(!from.convolutions);
  to->set_max_parameters(from.max_parameters);
  to->set_max_training_bytes(from.max_training_bytes);
}

void Get(const stored::TuningLimits& from, core::TuningLimits* to) {
  *to = FromTune(from.tune());
  to->architecture = from.architecture();
  to->convolutions = !from.no_convolutions();
  to->max_parameters = from.max_parameters();
  to->max_training_bytes = from.max_training_bytes();
  if (from.has_tune()) return;
  // Written before jobs had more to say of it.
  to->enabled = from.enabled();
  to->max_trials = from.max_trials();
}

void Put(const core::Budget& from, stored::Budget* to) {
  const auto& [trials, time_ms, epochs] = from;
  to->set_trials(trials);
  to->set_time_ms(time_ms);
  to->set_epochs(epochs);
}

void Put(const core::Needs& from, stored::Needs* to) {
  const auto& [pool, runtime, gpu, gpu_memory_bytes, labels, priority, paths] = from;
  to->set_pool(pool);
  to->set_runtime(runtime);
  to->set_gpu(StoredName(gpu));
  to->set_gpu_memory_bytes(gpu_memory_bytes);
  for (const auto& [name, value] : labels) (*to->mutable_labels())[name] = value;
  to->set_priority(priority);
  for (const std::string& path : paths) to->add_paths(path);
}

void Get(const stored::Needs& from, core::Needs* to, StoredReader& reader) {
  to->pool = from.pool();
  to->runtime = from.runtime();
  reader.Get(from.gpu(), "gpu", &to->gpu);
  to->gpu_memory_bytes = from.gpu_memory_bytes();
  to->labels = {from.labels().begin(), from.labels().end()};
  to->priority = from.priority();
  to->paths = {from.paths().begin(), from.paths().end()};
}

}  // namespace

void Put(const core::JobRequest& from, stored::JobRequest* to) {
  const auto& [project, commit, snapshot_sha256, spec_hash, spec_blob, name, source, request_key,
               needs, configuration, target, tuning, budget, manual, again, train_images] = from;
  to->set_project(project.value);
  to->set_commit(commit);
  to->set_snapshot_sha256(snapshot_sha256);
  to->set_spec_hash(spec_hash);
  to->set_spec_blob(spec_blob);
  to->set_name(name);
  to->set_source(source);
  to->set_request_key(request_key);
  Put(needs, to->mutable_needs());
  *to->mutable_configuration() = ToProto(configuration);
  Put(target, to->mutable_target());
  Put(tuning, to->mutable_tuning());
  Put(budget, to->mutable_budget());
  to->set_manual(manual);
  to->set_again(again);
  to->set_train_images(train_images);
}

void Get(const stored::JobRequest& from, core::JobRequest* to, StoredReader& reader) {
  to->project.value = from.project();
  to->commit = from.commit();
  to->snapshot_sha256 = from.snapshot_sha256();
  to->spec_hash = from.spec_hash();
  to->spec_blob = from.spec_blob();
  to->name = from.name();
  to->source = from.source();
  to->request_key = from.request_key();
  if (from.has_needs()) Get(from.needs(), &to->needs, reader);
  to->configuration = FromProto(from.configuration());
  Get(from.target(), &to->target, reader);
  Get(from.tuning(), &to->tuning);
  to->budget = {from.budget().trials(), from.budget().time_ms(), from.budget().epochs()};
  to->manual = from.manual();
  to->again = from.again();
  to->train_images = from.train_images();
}

}  // namespace trainyard::coordinator
