#include "coordinator/convert/stored.h"

#include <array>
#include <utility>

#include "coordinator/convert/stored_parts.h"
#include "proto/spec_convert.h"

// Each Put takes its record apart by structured binding, so that a field added to core does not
// compile until it is stored too.
namespace trainyard::coordinator {
namespace {

// Those of stored_parts.h beside the ones here.
using coordinator::Get;
using coordinator::Put;

void Put(const core::Model& from, stored::Model* to) {
  const auto& [onnx_sha256, safetensors_sha256, onnx_bytes, safetensors_bytes, test_accuracy,
               test_loss, test_count, confusion, files] = from;
  to->set_onnx_sha256(onnx_sha256);
  to->set_safetensors_sha256(safetensors_sha256);
  to->set_onnx_bytes(onnx_bytes);
  to->set_safetensors_bytes(safetensors_bytes);
  to->set_test_accuracy(test_accuracy);
  to->set_test_loss(test_loss);
  to->set_test_count(test_count);
  to->mutable_confusion()->Assign(confusion.begin(), confusion.end());
  for (const auto& [name, sha256, bytes] : files) {
    stored::ModelFile* file = to->add_files();
    file->set_name(name);
    file->set_sha256(sha256);
    file->set_bytes(bytes);
  }
}

void Get(const stored::Model& from, core::Model* to) {
  to->onnx_sha256 = from.onnx_sha256();
  to->safetensors_sha256 = from.safetensors_sha256();
  to->onnx_bytes = from.onnx_bytes();
  to->safetensors_bytes = from.safetensors_bytes();
  to->test_accuracy = from.test_accuracy();
  to->test_loss = from.test_loss();
  to->test_count = from.test_count();
  to->confusion.assign(from.confusion().begin(), from.confusion().end());
  for (const stored::ModelFile& file : from.files()) {
    to->files.push_back({file.name(), file.sha256(), file.bytes()});
  }
}

// ---- Records ----

void Put(const core::Project& from, stored::Project* to) {
  const auto& [id, name, url, branch, last_commit, last_push, last_error, removed,
               created_wall_ms] = from;
  to->set_id(id.value);
  to->set_name(name);
  to->set_url(url);
  to->set_branch(branch);
  to->set_last_commit(last_commit);
  to->set_last_push(last_push.value);
  to->set_last_error(last_error);
  to->set_removed(removed);
  to->set_created_wall_ms(created_wall_ms);
}

void Get(const stored::Project& from, core::Project* to, StoredReader&) {
  to->id.value = from.id();
  to->name = from.name();
  to->url = from.url();
  to->branch = from.branch();
  to->last_commit = from.last_commit();
  to->last_push.value = from.last_push();
  to->last_error = from.last_error();
  to->removed = from.removed();
  to->created_wall_ms = from.created_wall_ms();
}

void Put(const core::Push& from, stored::Push* to) {
  const auto& [id, project, commit, state, message, job] = from;
  to->set_id(id.value);
  to->set_project(project.value);
  to->set_commit(commit);
  to->set_state(StoredName(state));
  to->set_message(message);
  to->set_job(job.value);
}

void Get(const stored::Push& from, core::Push* to, StoredReader& reader) {
  to->id.value = from.id();
  to->project.value = from.project();
  to->commit = from.commit();
  reader.Get(from.state(), "state", &to->state);
  to->message = from.message();
  to->job.value = from.job();
}

void Put(const core::Job& from, stored::Job* to) {
  const auto& [id, request, identity, state, paused, reason, trials, proposal, proposal_inherits,
               decided, best, best_metric, target_met, retries_left, model, created_wall_ms,
               ended_wall_ms] = from;
  to->set_id(id.value);
  Put(request, to->mutable_request());
  to->set_identity(identity);
  to->set_state(StoredName(state));
  to->set_paused(paused);
  to->set_reason(reason);
  for (core::TrialId trial : trials) to->add_trials(trial.value);
  if (proposal) Put(*proposal, to->mutable_proposal());
  to->set_proposal_inherits(proposal_inherits.value);
  if (decided) Put(*decided, to->mutable_decided());
  to->set_best(best.value);
  if (best_metric) to->set_best_metric(*best_metric);
  to->set_target_met(target_met);
  to->set_retries_left(retries_left);
  if (model) Put(*model, to->mutable_model());
  to->set_created_wall_ms(created_wall_ms);
  to->set_ended_wall_ms(ended_wall_ms);
}

void Get(const stored::Job& from, core::Job* to, StoredReader& reader) {
  to->id.value = from.id();
  Get(from.request(), &to->request, reader);
  to->identity = from.identity();
  reader.Get(from.state(), "state", &to->state);
  to->paused = from.paused();
  to->reason = from.reason();
  for (int64_t trial : from.trials()) to->trials.push_back({trial});
  if (from.has_proposal()) Get(from.proposal(), &to->proposal.emplace(), reader);
  to->proposal_inherits.value = from.proposal_inherits();
  if (from.has_decided()) Get(from.decided(), &to->decided.emplace(), reader);
  to->best.value = from.best();
  if (from.has_best_metric()) to->best_metric = from.best_metric();
  to->target_met = from.target_met();
  to->retries_left = from.retries_left();
  if (from.has_model()) Get(from.model(), &to->model.emplace());
  to->created_wall_ms = from.created_wall_ms();
  to->ended_wall_ms = from.ended_wall_ms();
}

void Put(const core::Trial& from, stored::Trial* to) {
  const auto& [id, job, number, state, reason, configuration, tweak, inherits, attempt, attempts,
               retries_left, failures, training_ms, confusion, description, parameters, applied,
               notes, adjustments, until_epoch, rewinds, gained] = from;
  to->set_id(id.value);
  to->set_job(job.value);
  to->set_number(number);
  to->set_state(StoredName(state));
  to->set_reason(reason);
  *to->mutable_configuration() = ToProto(configuration);
  if (tweak) Put(*tweak, to->mutable_tweak());
  to->set_inherits(inherits.value);
  to->set_attempt(attempt.value);
  to->set_attempts(attempts);
  to->set_retries_left(retries_left);
  to->set_failures(failures);
  to->set_training_ms(training_ms);
  to->mutable_confusion()->Assign(confusion.begin(), confusion.end());
  to->set_description(description);
  to->set_parameters(parameters);
  Put(applied, to->mutable_applied());
  for (const std::string& note : notes) to->add_notes(note);
  for (const core::Adjustment& adjustment : adjustments) Put(adjustment, to->add_adjustments());
  to->set_until_epoch(until_epoch);
  to->set_rewinds(rewinds);
  if (gained) to->set_gained(*gained);
}

void Get(const stored::Trial& from, core::Trial* to, StoredReader& reader) {
  to->id.value = from.id();
  to->job.value = from.job();
  to->number = from.number();
  reader.Get(from.state(), "state", &to->state);
  to->reason = from.reason();
  to->configuration = FromProto(from.configuration());
  if (from.has_tweak()) Get(from.tweak(), &to->tweak.emplace(), reader);
  to->inherits.value = from.inherits();
  to->attempt.value = from.attempt();
  to->attempts = from.attempts();
  to->retries_left = from.retries_left();
  to->failures = from.failures();
  to->training_ms = from.training_ms();
  to->confusion.assign(from.confusion().begin(), from.confusion().end());
  to->description = from.description();
  to->parameters = from.parameters();
  Get(from.applied(), &to->applied);
  to->notes.assign(from.notes().begin(), from.notes().end());
  for (const stored::Adjustment& adjustment : from.adjustments()) {
    Get(adjustment, &to->adjustments.emplace_back(), reader);
  }
  to->until_epoch = from.until_epoch();
  to->rewinds = from.rewinds();
  if (from.has_gained()) to->gained = from.gained();
}

void Put(const core::Attempt& record, stored::Attempt* to) {
  const auto& [id, job, trial, number, finishing, state, fencing, worker, place, cause, message,
               from, progressed, pause_ms, from_step, step, started_wall_ms, ended_wall_ms, live] =
      record;
  to->set_id(id.value);
  to->set_job(job.value);
  to->set_trial(trial.value);
  to->set_number(number);
  to->set_finishing(finishing);
  to->set_state(StoredName(state));
  to->set_fencing(fencing.value);
  to->set_worker(worker.value);
  to->set_cause(StoredName(cause));
  to->set_message(message);
  to->set_from(from.value);
  to->set_progressed(progressed);
  to->set_pause_ms(pause_ms);
  to->set_from_step(from_step);
  to->set_step(step);
  to->set_started_wall_ms(started_wall_ms);
  to->set_ended_wall_ms(ended_wall_ms);
  to->set_pool(place.pool);
  to->set_host(place.host);
}

void Get(const stored::Attempt& from, core::Attempt* to, StoredReader& reader) {
  to->id.value = from.id();
  to->job.value = from.job();
  to->trial.value = from.trial();
  to->number = from.number();
  to->finishing = from.finishing();
  reader.Get(from.state(), "state", &to->state);
  to->fencing.value = from.fencing();
  to->worker.value = from.worker();
  reader.Get(from.cause(), "cause", &to->cause);
  to->message = from.message();
  to->from.value = from.from();
  to->progressed = from.progressed();
  to->pause_ms = from.pause_ms();
  to->from_step = from.from_step();
  to->step = from.step();
  to->started_wall_ms = from.started_wall_ms();
  to->ended_wall_ms = from.ended_wall_ms();
  to->place = {from.pool(), from.host()};
}

void Put(const core::Checkpoint& from, stored::Checkpoint* to) {
  const auto& [id, job, trial, attempt, sha256, bytes, step, epoch, end_of_epoch, metric, state,
               pinned, stored_wall_ms] = from;
  to->set_id(id.value);
  to->set_job(job.value);
  to->set_trial(trial.value);
  to->set_attempt(attempt.value);
  to->set_sha256(sha256);
  to->set_bytes(bytes);
  to->set_step(step);
  to->set_epoch(epoch);
  to->set_end_of_epoch(end_of_epoch);
  if (metric) to->set_metric(*metric);
  to->set_state(StoredName(state));
  to->set_pinned(pinned);
  to->set_stored_wall_ms(stored_wall_ms);
}

void Get(const stored::Checkpoint& from, core::Checkpoint* to, StoredReader& reader) {
  to->id.value = from.id();
  to->job.value = from.job();
  to->trial.value = from.trial();
  to->attempt.value = from.attempt();
  to->sha256 = from.sha256();
  to->bytes = from.bytes();
  to->step = from.step();
  to->epoch = from.epoch();
  to->end_of_epoch = from.end_of_epoch();
  if (from.has_metric()) to->metric = from.metric();
  reader.Get(from.state(), "state", &to->state);
  to->pinned = from.pinned();
  to->stored_wall_ms = from.stored_wall_ms();
}

void Put(const core::Abilities& from, stored::Abilities* to) {
  const auto& [gpu, gpu_memory_bytes, labels, runtimes, data_roots] = from;
  to->set_gpu(gpu);
  to->set_gpu_memory_bytes(gpu_memory_bytes);
  for (const auto& [name, value] : labels) (*to->mutable_labels())[name] = value;
  for (const std::string& runtime : runtimes) to->add_runtimes(runtime);
  for (const std::string& root : data_roots) to->add_data_roots(root);
}

void Get(const stored::Abilities& from, core::Abilities* to) {
  to->gpu = from.gpu();
  to->gpu_memory_bytes = from.gpu_memory_bytes();
  to->labels = {from.labels().begin(), from.labels().end()};
  to->runtimes = {from.runtimes().begin(), from.runtimes().end()};
  to->data_roots = {from.data_roots().begin(), from.data_roots().end()};
}

void Put(const core::Gpu& from, stored::Gpu* to) {
  const auto& [name, uuid, memory_bytes, driver, compute_capability] = from;
  to->set_name(name);
  to->set_uuid(uuid);
  to->set_memory_bytes(memory_bytes);
  to->set_driver(driver);
  to->set_compute_capability(compute_capability);
}

void Get(const stored::Gpu& from, core::Gpu* to) {
  *to = {from.name(), from.uuid(), from.memory_bytes(), from.driver(), from.compute_capability()};
}

void Put(const core::Worker& from, stored::Worker* to) {
  const auto& [id, incarnation, name, pool, launch, host, pid, device, abilities, gpu, state,
               draining, attempt, live] = from;
  to->set_id(id.value);
  to->set_incarnation(incarnation);
  to->set_name(name);
  to->set_pool(pool);
  to->set_launch(launch.value);
  to->set_host(host);
  to->set_pid(pid);
  to->set_device(device);
  Put(abilities, to->mutable_abilities());
  if (gpu) Put(*gpu, to->mutable_gpu());
  to->set_state(StoredName(state));
  to->set_draining(draining);
  to->set_attempt(attempt.value);
}

void Get(const stored::Worker& from, core::Worker* to, StoredReader& reader) {
  to->id.value = from.id();
  to->incarnation = from.incarnation();
  to->name = from.name();
  to->pool = from.pool();
  to->launch.value = from.launch();
  to->host = from.host();
  to->pid = from.pid();
  to->device = from.device();
  if (from.has_abilities()) Get(from.abilities(), &to->abilities);
  if (from.has_gpu()) Get(from.gpu(), &to->gpu.emplace());
  reader.Get(from.state(), "state", &to->state);
  to->draining = from.draining();
  to->attempt.value = from.attempt();
}

void Put(const core::Launch& from, stored::Launch* to) {
  const auto& [id, slot, runtime, attempt, state, handle, worker, proven, grace_ms, message, live] =
      from;
  to->set_id(id.value);
  to->set_pool(slot.host.pool);
  to->set_host(slot.host.host);
  to->set_slot(slot.slot);
  to->set_runtime(runtime);
  to->set_attempt(attempt.value);
  to->set_state(StoredName(state));
  to->set_handle(handle);
  to->set_worker(worker.value);
  to->set_proven(proven);
  to->set_grace_ms(grace_ms);
  to->set_message(message);
}

void Get(const stored::Launch& from, core::Launch* to, StoredReader& reader) {
  to->id.value = from.id();
  to->slot = {{from.pool(), from.host()}, from.slot()};
  to->runtime = from.runtime();
  to->attempt.value = from.attempt();
  reader.Get(from.state(), "state", &to->state);
  to->handle = from.handle();
  to->worker.value = from.worker();
  to->proven = from.proven();
  to->grace_ms = from.grace_ms();
  to->message = from.message();
}

void Put(const core::Notice& from, stored::Notice* to) {
  const auto& [id, job, text, sent] = from;
  to->set_id(id.value);
  to->set_job(job.value);
  to->set_text(text);
  to->set_sent(sent);
}

void Get(const stored::Notice& from, core::Notice* to, StoredReader&) {
  to->id.value = from.id();
  to->job.value = from.job();
  to->text = from.text();
  to->sent = from.sent();
}

template <typename Message, typename Record>
std::string EncodeAs(const Record& record) {
  Message message;
  Put(record, &message);
  return message.SerializeAsString();
}

template <typename Message, typename Record>
absl::StatusOr<Record> DecodeAs(std::string_view body) {
  Message message;
  if (!message.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    return absl::DataLossError("found " + std::to_string(body.size()) +
                               " bytes, expected a serialized " + message.GetTypeName());
  }
  Record record;
  StoredReader reader;
  Get(message, &record, reader);
  if (!reader.problem().empty()) return absl::DataLossError(reader.problem());
  return record;
}

}  // namespace

std::string Encode(const core::Project& record) { return EncodeAs<stored::Project>(record); }
std::string Encode(const core::Push& record) { return EncodeAs<stored::Push>(record); }
std::string Encode(const core::Job& record) { return EncodeAs<stored::Job>(record); }
std::string Encode(const core::Trial& record) { return EncodeAs<stored::Trial>(record); }
std::string Encode(const core::Attempt& record) { return EncodeAs<stored::Attempt>(record); }
std::string Encode(const core::Checkpoint& record) { return EncodeAs<stored::Checkpoint>(record); }
std::string Encode(const core::Worker& record) { return EncodeAs<stored::Worker>(record); }
std::string Encode(const core::Launch& record) { return EncodeAs<stored::Launch>(record); }
std::string Encode(const core::Notice& record) { return EncodeAs<stored::Notice>(record); }

template <>
absl::StatusOr<core::Project> Decode(std::string_view body) {
  return DecodeAs<stored::Project, core::Project>(body);
}
template <>
absl::StatusOr<core::Push> Decode(std::string_view body) {
  return DecodeAs<stored::Push, core::Push>(body);
}
template <>
absl::StatusOr<core::Job> Decode(std::string_view body) {
  return DecodeAs<stored::Job, core::Job>(body);
}
template <>
absl::StatusOr<core::Trial> Decode(std::string_view body) {
  return DecodeAs<stored::Trial, core::Trial>(body);
}
template <>
absl::StatusOr<core::Attempt> Decode(std::string_view body) {
  return DecodeAs<stored::Attempt, core::Attempt>(body);
}
template <>
absl::StatusOr<core::Checkpoint> Decode(std::string_view body) {
  return DecodeAs<stored::Checkpoint, core::Checkpoint>(body);
}
template <>
absl::StatusOr<core::Worker> Decode(std::string_view body) {
  return DecodeAs<stored::Worker, core::Worker>(body);
}
template <>
absl::StatusOr<core::Launch> Decode(std::string_view body) {
  return DecodeAs<stored::Launch, core::Launch>(body);
}
template <>
absl::StatusOr<core::Notice> Decode(std::string_view body) {
  return DecodeAs<stored::Notice, core::Notice>(body);
}

}  // namespace trainyard::coordinator
