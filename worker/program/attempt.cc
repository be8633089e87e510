#include "worker/program/attempt.h"

#include <signal.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "proto/memory_kills.h"
#include "proto/runtimes.h"
#include "spdlog/spdlog.h"
#include "worker/agent/digest.h"
#include "worker/agent/report_buffer.h"
#include "worker/agent/retry.h"
#include "worker/program/environment.h"
#include "worker/program/exit_cause.h"
#include "worker/program/finish.h"
#include "worker/program/sandbox.h"

namespace trainyard::program {
namespace {

namespace fs = std::filesystem;
using agent::Describe;
using agent::Ending;
using agent::Wish;
using v1::AttemptEnded;

constexpr std::chrono::milliseconds kTick{50};
constexpr size_t kNotesMax = 50;
constexpr size_t kNoteBytesMax = 1'000;
constexpr int kModelsMax = 50;
constexpr size_t kAccuracyFileBytesMax = 64 << 10;
constexpr char kOnlyStops[] =
    "found a change of a program in mid-run, expected a stop: nothing else reaches one that runs";

}  // namespace

Attempt::Attempt(const v1::Start& start, const ProgramOptions& options, agent::BlobClient& blobs,
                 agent::BlobCache& cache, agent::Uplink& uplink, agent::AttemptControl& control)
    : start_(start),
      options_(options),
      blobs_(blobs),
      cache_(cache),
      uplink_(uplink),
      control_(control),
      folder_(agent::AttemptFolder(options.work_folder, start.attempt())),
      sandboxed_(options.confinement == Confinement::kSandbox),
      epochs_(start.spec().target().metric()),
      heartbeat_(control) {
  for (const v1::Adjustment& adjustment : start.adjustments()) stops_.push_back(adjustment.step());
}

Ending Attempt::Run() {
  control_.set_phase(v1::PHASE_LOADING);
  absl::Status status = Prepare();
  if (status.ok()) status = Restore();
  if (absl::IsDataLoss(status)) {
    return {AttemptEnded::CHECKPOINT_BROKEN,
            absl::StrCat("checkpoint ", start_.checkpoint_sha256(), ": ", status.message())};
  }
  if (status.ok() && start_.finishing()) {
    status = Finish(start_, space_, StateNow(), blobs_, uplink_, control_);
    if (status.ok()) return {AttemptEnded::COMPLETED, "published"};
  }
  if (!status.ok()) return EndingOf(status, control_, step());
  EndBehind(epochs_.done(), epochs_.step());
  if (!halt_.empty()) return {AttemptEnded::COMPLETED, halt_, stops_};
  return Train();
}

absl::Status Attempt::Prepare() {
  for (const v1::Adjustment& adjustment : start_.adjustments()) {
    if (adjustment.stop()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("adjustment ", adjustment.number(), ": ", kOnlyStops));
  }
  agent::DataLoader loader(blobs_, cache_, options_.https, folder_ + "/source", control_);
  // What is only published needs no data.
  const v1::Program program = start_.finishing() ? v1::Program() : start_.spec().program();
  auto space = MakeWorkspace(folder_, program, start_.configuration().changes(),
                             start_.snapshot_sha256(), loader);
  if (!space.ok()) return space.status();
  space_ = *std::move(space);
  publisher_ = std::make_unique<agent::CheckpointPublisher>(
      start_.attempt(), start_.spec().target().metric(), space_.packed, blobs_, uplink_, control_);
  return absl::OkStatus();
}

absl::Status Attempt::Restore() {
  const std::string& sha256 = start_.checkpoint_sha256();
  if (sha256.empty()) {
    if (!start_.finishing()) return absl::OkStatus();
    return absl::InvalidArgumentError("a finishing attempt came without a checkpoint to finish");
  }
  agent::BlobCache fetched(space_.restored + "/.fetched");
  std::string path;
  const absl::Status status = Persist(control_, Wish::kStop, "fetching the checkpoint", [&] {
    absl::StatusOr<std::string> got = fetched.Get(
        sha256,
        [&](int64_t offset, const agent::BlobCache::Sink& sink) {
          return blobs_.Fetch(sha256, offset, sink, control_, Wish::kStop);
        },
        control_);
    if (got.ok()) path = *std::move(got);
    return got.status();
  });
  if (absl::IsNotFound(status)) return absl::DataLossError(status.message());
  if (!status.ok()) return status;
  absl::StatusOr<State> state = Unpack(path, space_);
  if (!state.ok()) return state.status();
  continued_ = true;
  // What was held back is of the weights that are stored with it.
  if (state->held) state->held->checkpoint = state->entry;
  epochs_.Continue(state->epoch, state->step, state->held);
  last_row_.epoch = stored_epoch_ = state->epoch;
  last_row_.val_accuracy = state->val_accuracy;
  last_row_.val_loss = state->val_loss;
  last_row_.checkpoint = state->entry;
  model_.description = state->description;
  model_.parameters = state->parameters;
  if (!state->entry.empty()) {
    resume_from_ = absl::StrCat(space_.checkpoints, "/", state->entry);
    stored_entry_ = FindEntry(space_, state->entry);
  }
  stored_output_ = StampFiles(space_.output);
  control_.set_step(state->step);
  RemoveTree(space_.restored);
  return absl::OkStatus();
}

void Attempt::Clear() {
  publisher_.reset();
  for (const std::string& path :
       {space_.source, space_.home, space_.tmp, space_.data, space_.checkpoints, space_.output,
        space_.exchange, space_.restored}) {
    if (!path.empty()) RemoveTree(path);
  }
}

absl::Status Attempt::LinkData() {
  if (sandboxed_) return absl::OkStatus();  // bound into its place there
  std::error_code error;
  for (const auto& [name, path] : space_.data_at) {
    fs::create_symlink(path, absl::StrCat(space_.data, "/", name), error);
    if (error) return absl::UnavailableError(absl::StrCat(space_.data, ": ", error.message()));
  }
  fs::permissions(space_.data, fs::perms::owner_read | fs::perms::owner_exec, error);
  return absl::OkStatus();
}

absl::StatusOr<Command> Attempt::MakeCommand() {
  if (auto status = LinkData(); !status.ok()) return status;
  const v1::Program& program = start_.spec().program();
  std::vector<std::string> argv(program.command().begin(), program.command().end());
  if (argv.empty()) return absl::InvalidArgumentError("program.command: found none");
  if (argv.size() == 3 && argv[0] == "sh" && argv[1] == "-c") {
    // A shell would be gone at a SIGTERM before what it runs has stored its checkpoint.
    argv[2] = "trap 'exit 143' TERM\n" + argv[2];
  }
  Command command;
  command.environment = ProgramEnvironment(start_, options_, space_, resume_from_);
  command.folder = space_.source;
  const absl::StatusOr<std::string> found =
      FindProgram(argv[0], ProgramPath(options_), space_.source);
  if (!found.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("program.command: ", found.status().message()));
  }
  if (!sandboxed_) {
    argv[0] = *found;
    command.argv = std::move(argv);
    return command;
  }
  if (program.network() && !options_.network) {
    return absl::InvalidArgumentError(
        "program.network: found true, which this machine does not allow to programs; leave it out, "
        "or start the coordinator with --program-network");
  }
  const absl::StatusOr<std::string> bubblewrap = ProbeBubblewrap();
  if (!bubblewrap.ok()) return absl::UnavailableError(bubblewrap.status().message());
  SandboxOptions sandbox{program.network(), options_.program_paths};
  for (const std::string& ours : {options_.python_folder, options_.logits_program}) {
    if (!ours.empty()) sandbox.folders.push_back(ours);
  }
  command.argv = InSandbox(*bubblewrap, argv, space_, sandbox);
  command.keep_rights = true;  // it takes them away itself
  return command;
}

Ending Attempt::Train() {
  const absl::StatusOr<Command> command = MakeCommand();
  if (!command.ok()) return EndingOf(command.status(), control_, step());
  if (control_.wish() >= Wish::kStop) {
    return EndingOf(absl::CancelledError(control_.reason()), control_, step());
  }
  spdlog::info("{}: starts {}", Describe(start_.attempt()),
               absl::StrJoin(start_.spec().program().command(), " "));
  metrics_ = std::make_unique<MetricsFile>(space_.metrics);
  const int64_t memory_kills = CountMemoryKills();
  absl::StatusOr<Process> process = Process::Start(*command);
  if (!process.ok()) {
    return {AttemptEnded::FAILED_FINALLY,
            absl::StrCat("program.command: ", process.status().message())};
  }
  Output output(process->TakeOutput(), options_.output);
  const std::optional<Exit> exit = Watch(*process, output);
  process->KillAll();  // what it has left behind
  output.Finish();
  if (control_.wish() >= Wish::kAbandon) return {};
  control_.set_phase(v1::PHASE_UPLOADING);
  Listen(output, /*last=*/true);
  if (!halt_.empty()) return Completed();
  const bool well = exit && exit->signal == 0 && exit->code == 0;
  const bool ended_by_itself = well && !terminated_;
  if (error_.empty() && control_.wish() >= Wish::kStop && !ended_by_itself) return StoppedEnding();
  if (error_.empty() && well) return Completed();
  publisher_->Drain();
  return Explain({.exit = exit.value_or(Exit{.signal = SIGKILL}),
                  .sandboxed = sandboxed_,
                  .memory_killed = CountMemoryKills() > memory_kills,
                  .network = start_.spec().program().network(),
                  .error = error_,
                  .output = output.last(),
                  .runtime = ProgramRuntime(start_.spec().program().framework())});
}

std::optional<Exit> Attempt::Watch(Process& process, Output& output) {
  std::optional<agent::Clock::time_point> kill_at;
  for (;;) {
    if (std::optional<Exit> exit = process.Wait(kTick)) return exit;
    const Wish wish = control_.wish();
    AnswerAdjustments();
    if ((wish >= Wish::kStop || !halt_.empty()) && !kill_at) {
      process.Terminate(sandboxed_);
      terminated_ = true;
      kill_at = agent::Clock::now() + options_.term_grace;
    }
    const bool over = kill_at && agent::Clock::now() >= *kill_at;
    if (over || wish >= Wish::kGiveUp) return std::nullopt;
    Listen(output, /*last=*/false);
    heartbeat_.OnTime();
  }
}

void Attempt::Listen(Output& output, bool last) {
  // Taken before the file is read: what it says of an epoch, it says before the next is printed.
  const std::vector<std::string> lines = output.TakeLines();
  const std::vector<Said> from_file = metrics_->Read(last);
  for (const Said& said : from_file) Hear(said, Source::kSaid);
  if (!metrics_->problem().empty()) Note("metrics", metrics_->problem());
  for (const std::string& line : lines) {
    for (const Said& said : printed_.Add(line)) HearPrinted(said);
  }
  if (last) {
    for (const Said& said : printed_.End()) HearPrinted(said);
  }
  const int64_t bytes = output.bytes();
  if (!from_file.empty() || bytes != output_bytes_) heartbeat_.OnSign();
  output_bytes_ = bytes;
}

void Attempt::Hear(const Said& said, Source source) {
  if (const auto* line = std::get_if<EpochLine>(&said)) {
    epochs_in_file_ = epochs_in_file_ || source == Source::kSaid;
    OnEpoch(*line);
  } else if (const auto* progress = std::get_if<StepLine>(&said)) {
    epochs_.Step(progress->step);
    heartbeat_.OnStep(epochs_.step());
  } else if (const auto* change = std::get_if<PhaseLine>(&said)) {
    heartbeat_.OnPhase(change->phase);
  } else if (const auto* judgement = std::get_if<Judgement>(&said)) {
    epochs_.Judge(*judgement, source);
    TellJudgement(*judgement, source);
  } else if (const auto* model = std::get_if<ModelLine>(&said)) {
    ReportModel(*model);
  } else if (const auto* note = std::get_if<NoteLine>(&said)) {
    Note(note->text, note->text);
  } else if (const auto* error = std::get_if<ErrorLine>(&said)) {
    if (error_.empty()) error_ = error->text;
  }
}

// A judgement that no epoch waits for counts for nothing, but people want to know it.
void Attempt::TellJudgement(const Judgement& judgement, Source source) {
  if (source != Source::kSaid || !epochs_.any() || epochs_.held()) return;
  std::string text = "the program judges its model itself:";
  if (!std::isnan(judgement.accuracy)) {
    absl::StrAppend(&text, absl::StrFormat(" accuracy %.4f", judgement.accuracy));
  }
  if (!std::isnan(judgement.loss)) {
    absl::StrAppend(&text, absl::StrFormat(" loss %.4f", judgement.loss));
  }
  Note(text, text);
}

void Attempt::HearPrinted(const Said& said) {
  const auto* line = std::get_if<EpochLine>(&said);
  if (line == nullptr || !epochs_in_file_) return Hear(said, Source::kPrinted);
  // The file tells of epochs; what was printed may still be what they are worth.
  epochs_.Judge({line->val_accuracy, line->val_loss}, Source::kPrinted);
}

void Attempt::OnEpoch(EpochLine line) {
  if (!halt_.empty()) return;
  if (line.checkpoint.empty()) {
    const std::optional<Entry> newest = NewestEntry(space_);
    if (newest && newest != stored_entry_) line.checkpoint = newest->name;
  }
  const int epoch = line.epoch;
  std::vector<EpochLine> rows;
  switch (epochs_.Add(std::move(line), &rows)) {
    case Epochs::Verdict::kRepeated:
      Note("repeated", absl::StrCat("the program reports epoch ", epoch, " again, after epoch ",
                                    epochs_.done(), ": what was reported first stands"));
      break;
    case Epochs::Verdict::kBeyond:
      Note("beyond", absl::StrCat("the program reports epoch ", epoch, " after epoch ",
                                  epochs_.done(), ": expected the next one; it is not counted"));
      break;
    case Epochs::Verdict::kTaken:
      break;
  }
  for (const EpochLine& row : rows) {
    if (halt_.empty()) Report(row, /*with_checkpoint=*/true);
  }
  control_.set_step(epochs_.step());
}

void Attempt::Report(const EpochLine& row, bool with_checkpoint) {
  v1::WorkerMessage message;
  *message.mutable_epoch()->mutable_attempt() = start_.attempt();
  v1::Epoch* epoch = message.mutable_epoch()->mutable_epoch();
  epoch->set_trial(start_.trial_number());
  epoch->set_attempt(start_.attempt_number());
  epoch->set_epoch(row.epoch);
  epoch->set_step(row.step);
  epoch->set_train_loss(row.loss);
  epoch->set_train_accuracy(row.accuracy);
  epoch->set_val_loss(row.val_loss);
  epoch->set_val_accuracy(row.val_accuracy);
  const auto or_none = [](double value) { return std::isnan(value) ? 0 : value; };
  epoch->set_learning_rate(or_none(row.learning_rate));
  epoch->set_images_per_second(or_none(row.images_per_second));
  epoch->set_seconds(or_none(row.seconds));
  epoch->set_exact(false);
  spdlog::info("{}: epoch {}: loss {:.4f}, val_loss {:.4f}, val_accuracy {:.4f}",
               Describe(start_.attempt()), row.epoch, row.loss, row.val_loss, row.val_accuracy);
  publisher_->OnEpoch(row.epoch, row.val_accuracy, row.val_loss);
  uplink_.Report(std::move(message), control_);
  last_row_ = row;
  EndBehind(row.epoch, row.step);
  if (!with_checkpoint || row.checkpoint.empty()) return;
  State state = StateNow();
  state.step = row.step;
  Store(std::move(state), {}, /*end_of_epoch=*/true, /*last=*/false);
}

void Attempt::EndBehind(int epoch, int64_t step) {
  const auto due = [step](int64_t stop) { return stop <= step; };
  if (std::any_of(stops_.begin(), stops_.end(), due)) {
    halt_ = absl::StrCat("stopped early at step ", step);
  } else if (start_.until_epoch() > 0 && epoch >= start_.until_epoch()) {
    halt_ = absl::StrCat("halted after epoch ", epoch);
  }
}

void Attempt::AnswerAdjustments() {
  for (const v1::Adjustment& adjustment : control_.TakeAdjustments()) {
    const auto held = static_cast<int>(stops_.size());
    const int number = adjustment.number();
    if (!adjustment.stop()) {
      Note(kOnlyStops, absl::StrCat("adjustment ", number, ": ", kOnlyStops));
      continue;
    }
    const bool next = number == held + 1 && halt_.empty() && adjustment.step() > epochs_.step();
    if (next) stops_.push_back(adjustment.step());
    const bool taken = next || (number >= 1 && number <= held);
    uplink_.Report(agent::AdjustReportOf(start_.attempt(), number, taken,
                                         taken ? stops_[number - 1] : epochs_.step()),
                   control_);
  }
}

void Attempt::ReportModel(const ModelLine& line) {
  model_ = line;
  if (++models_reported_ > kModelsMax) return;
  v1::WorkerMessage message;
  v1::ProgramReport& report = *message.mutable_program();
  *report.mutable_attempt() = start_.attempt();
  report.set_description(line.description);
  report.set_parameters(line.parameters);
  for (const v1::Change& change : line.changes) *report.add_applied() = change;
  uplink_.Report(std::move(message), control_);
}

void Attempt::Note(const std::string& about, const std::string& text) {
  if (noted_.size() >= kNotesMax || !noted_.insert(about).second) return;
  // A name of a file in it may be anything.
  const std::string clean = CleanText(text, kNoteBytesMax);
  spdlog::warn("{}: {}", Describe(start_.attempt()), clean);
  v1::WorkerMessage message;
  *message.mutable_program()->mutable_attempt() = start_.attempt();
  message.mutable_program()->set_note(clean);
  uplink_.Report(std::move(message), control_);
}

// accuracy.txt, new or changed against the source.
void Attempt::Judge() {
  constexpr char kName[] = "accuracy.txt";
  const Stamps now = StampFiles(space_.source);
  const auto before = space_.stamps.find(kName);
  const auto after = now.find(kName);
  const bool its_own =
      after != now.end() && (before == space_.stamps.end() || before->second != after->second);
  for (const std::string& folder : {space_.output, its_own ? space_.source : space_.output}) {
    const auto text = ReadFileInside(folder, kName, kAccuracyFileBytesMax);
    if (!text.ok()) continue;
    if (const auto judgement = ParseAccuracyFile(*text)) {
      epochs_.Judge(*judgement, Source::kFile);
    } else {
      Note(kName, absl::StrCat("accuracy.txt: found \"", CleanText(*text, 80),
                               "\", expected a number or accuracy=NUMBER"));
    }
  }
}

Ending Attempt::Completed() {
  std::vector<EpochLine> rows;
  if (halt_.empty()) {
    Judge();
    rows = epochs_.End();
  }
  for (const EpochLine& row : rows) Report(row, /*with_checkpoint=*/false);
  control_.set_step(epochs_.step());
  if (done() == 0) {
    return {AttemptEnded::FAILED_FINALLY,
            "the program ended without saying how good its model is: found no epoch in its metrics "
            "file or output, no printed accuracy and no accuracy.txt; print accuracy=0.91, or see "
            "docs/programs.md for how to report"};
  }
  const bool loss = start_.spec().target().metric() == v1::Target::VAL_LOSS;
  if (std::isnan(loss ? last_row_.val_loss : last_row_.val_accuracy) && !last_row_.diverged) {
    Note("no value", absl::StrCat("the program never said the ", loss ? "loss" : "accuracy",
                                  " of its last epoch on held-out data, so nothing can be compared "
                                  "with the target"));
  }
  // What it wrote on after its end is of no epoch that counts.
  if (halt_.empty() || stored_epoch_ < done() || !rows.empty()) StoreAtEnd(!rows.empty());
  if (publisher_->Drain() != agent::CheckpointPublisher::Drained::kPublished) {
    return {AttemptEnded::STOPPED,
            absl::StrCat("the program ended, but its last checkpoint is not stored: ",
                         publisher_->trouble())};
  }
  if (last_row_.diverged) {
    return {
        AttemptEnded::DIVERGED,
        absl::StrCat("the program's loss is not a number any more, in epoch ", last_row_.epoch)};
  }
  return {AttemptEnded::COMPLETED,
          halt_.empty() ? absl::StrCat("the program ended after epoch ", done()) : halt_, stops_};
}

Ending Attempt::StoppedEnding() {
  const std::optional<agent::StopRequest> stop = control_.stop();
  const bool wanted = stop && stop->checkpoint;
  if (wanted) StoreOnStop();
  return Stopped(*publisher_, control_, step(), wanted && stored_any_, space_.packed);
}

State Attempt::StateNow() const {
  return {.epoch = done(),
          .step = epochs_.step(),
          .val_accuracy = last_row_.val_accuracy,
          .val_loss = last_row_.val_loss,
          .held = std::nullopt,
          .entry = last_row_.checkpoint,
          .description = model_.description,
          .parameters = model_.parameters};
}

// The last epoch's checkpoint, with all that was written up to the end; unless that is stored, or
// there is nothing of that epoch: an older one's entry is not what it was worth.
void Attempt::StoreAtEnd(bool released) {
  const std::vector<std::string> files = ModelFiles(space_);
  const Stamps output = StampFiles(space_.output);
  const std::optional<Entry> newest = NewestEntry(space_);
  State state = StateNow();
  if (!FindEntry(space_, state.entry)) {
    state.entry = newest && newest != stored_entry_ ? newest->name : "";
  }
  const bool stored =
      !released && stored_epoch_ == done() && files.empty() && output == stored_output_;
  const bool nothing = state.entry.empty() && files.empty() && output.empty();
  if (stored || (nothing && stored_epoch_ > 0)) return;
  state.step = released ? last_row_.step : epochs_.Mark();
  Store(std::move(state), files, /*end_of_epoch=*/true, /*last=*/true);
}

// What was written since the last epoch that counts: the entry of one that is held back, or of the
// middle of the next.
void Attempt::StoreOnStop() {
  const std::optional<Entry> newest = NewestEntry(space_);
  if (!newest || newest == stored_entry_) return;
  State state = StateNow();
  state.step = epochs_.Mark();
  state.held = epochs_.held();
  state.entry = newest->name;
  Store(std::move(state), {}, /*end_of_epoch=*/false, /*last=*/true);
}

void Attempt::Store(State state, const std::vector<std::string>& files, bool end_of_epoch,
                    bool last) {
  const std::optional<Entry> entry = FindEntry(space_, state.entry);
  const std::string file = absl::StrCat(space_.packed, "/step-", state.step, ".tar");
  const absl::StatusOr<Blob> blob = Pack(space_, state, files, file);
  if (!blob.ok()) {
    Note(absl::IsNotFound(blob.status()) ? "entry" : "pack",
         absl::StrCat("no checkpoint of epoch ", state.epoch,
                      ", the program goes on: ", blob.status().message()));
    return;
  }
  stored_any_ = true;
  stored_entry_ = entry;
  stored_output_ = StampFiles(space_.output);
  stored_epoch_ = state.epoch;
  publisher_->Add({.file = file,
                   .sha256 = blob->sha256,
                   .step = state.step,
                   .epoch = state.epoch,
                   .end_of_epoch = end_of_epoch},
                  last);
}

}  // namespace trainyard::program
