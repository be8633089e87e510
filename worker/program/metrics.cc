#include "worker/program/metrics.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "worker/program/lines.h"

namespace trainyard::program {
namespace {

using nlohmann::json;

constexpr int64_t kStepsMax = 1'000'000'000'000'000;
constexpr size_t kTextBytesMax = 1'000;
constexpr size_t kChangesMax = 200;

// Python's json module writes numbers that JSON does not have; here they become texts.
constexpr char kNaN[] = "NaN";
std::string WithoutNaN(std::string_view line) {
  std::string out;
  bool quoted = false;
  for (size_t at = 0; at < line.size();) {
    if (quoted && line[at] == '\\') {
      out += line.substr(at, 2);
      at += 2;
      continue;
    }
    if (line[at] == '"') quoted = !quoted;
    size_t length = 0;
    for (const std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
      if (!quoted && line.substr(at).starts_with(word)) length = word.size();
    }
    if (length > 0) {
      out += absl::StrCat("\"", kNaN, "\"");
    } else {
      out += line[at];
      length = 1;
    }
    at += length;
  }
  return out;
}

// One object and what is wrong in it.
class Fields {
 public:
  Fields(const json& object, std::string* problem) : object_(object), problem_(problem) {}

  bool Has(const char* name) const { return object_.contains(name); }

  // NaN where it is not there, or is no number.
  double Number(const char* name) {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null() || *found == kNaN) return kUnsaid;
    if (!found->is_number()) return Wrong(name, "a number"), kUnsaid;
    const double number = found->get<double>();
    return std::isfinite(number) ? number : kUnsaid;
  }

  // From 0 to 1.
  double Share(const char* name) {
    const double number = Number(name);
    if (number >= 0 && number <= 1) return number;
    if (!std::isnan(number)) Wrong(name, "a number from 0 to 1");
    return kUnsaid;
  }

  int64_t Count(const char* name, int64_t least, int64_t most) {
    const double number = Number(name);
    if (number >= static_cast<double>(least) && number <= static_cast<double>(most) &&
        number == std::floor(number)) {
      return static_cast<int64_t>(number);
    }
    if (Has(name) && !object_[name].is_null()) {
      Wrong(name, absl::StrCat("a whole number from ", least, " to ", most));
    }
    return 0;
  }

  std::string Text(const char* name) {
    const auto found = object_.find(name);
    if (found == object_.end() || found->is_null()) return "";
    if (!found->is_string()) return Wrong(name, "a text"), "";
    return CleanText(found->get_ref<const std::string&>(), kTextBytesMax);
  }

  void Wrong(const std::string& name, const std::string& expected) {
    if (!problem_->empty()) return;
    std::string found = "nothing";
    if (object_.contains(name)) {
      found = object_[name].dump(-1, ' ', false, json::error_handler_t::replace);
    }
    *problem_ =
        absl::StrCat("\"", name, "\": found ", CleanText(found, 80), ", expected ", expected);
  }

 private:
  const json& object_;
  std::string* problem_;
};

// A loss is said to be no number, which is something else than not saying it.
bool IsNaN(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && *found == kNaN;
}

EpochLine ReadEpoch(const json& object, Fields fields) {
  EpochLine line;
  line.epoch = static_cast<int>(fields.Count("epoch", 1, kEpochsMax));
  line.step = fields.Count("step", 0, kStepsMax);
  line.loss = fields.Number("loss");
  line.accuracy = fields.Share("accuracy");
  line.val_loss = fields.Number("val_loss");
  line.val_accuracy = fields.Share("val_accuracy");
  line.learning_rate = fields.Number("learning_rate");
  line.seconds = fields.Number("seconds");
  line.images_per_second = fields.Number("images_per_second");
  line.diverged = IsNaN(object, "loss") || IsNaN(object, "val_loss");
  line.checkpoint = fields.Text("checkpoint");
  if (line.checkpoint.find('/') != std::string::npos || line.checkpoint.starts_with('.')) {
    fields.Wrong("checkpoint", "the name of an entry, without / and without . in front");
    line.checkpoint.clear();
  }
  return line;
}

ModelLine ReadModel(const json& object, std::string* problem) {
  Fields fields(object, problem);
  ModelLine line;
  line.description = fields.Text("description");
  line.parameters = fields.Count("parameters", 0, kStepsMax);
  const auto changes = object.find("changes");
  if (changes == object.end() || !changes->is_array()) return line;
  for (const json& change : *changes) {
    if (!change.is_object() || line.changes.size() == kChangesMax) continue;
    Fields parts(change, problem);
    v1::Change& added = line.changes.emplace_back();
    added.set_path(parts.Text("path"));
    added.set_from(parts.Text("from"));
    added.set_to(parts.Text("to"));
  }
  return line;
}

v1::Phase PhaseOf(const std::string& name) {
  if (name == "training") return v1::PHASE_TRAINING;
  if (name == "evaluating") return v1::PHASE_EVALUATING;
  if (name == "loading") return v1::PHASE_LOADING;
  return v1::PHASE_UNSPECIFIED;
}

void ReadObject(const json& object, std::string* problem, std::vector<Said>* said) {
  Fields fields(object, problem);
  if (fields.Has("epoch")) {
    if (EpochLine line = ReadEpoch(object, fields); line.epoch > 0) said->push_back(line);
  } else if (fields.Has("step")) {
    if (const int64_t step = fields.Count("step", 0, kStepsMax); step > 0) {
      said->push_back(StepLine{step});
    }
  }
  if (fields.Has("phase")) {
    const v1::Phase phase = PhaseOf(fields.Text("phase"));
    if (phase == v1::PHASE_UNSPECIFIED) {
      fields.Wrong("phase", "\"loading\", \"training\" or \"evaluating\"");
    } else {
      said->push_back(PhaseLine{phase});
    }
  }
  if (fields.Has("result")) {
    if (object["result"].is_object()) {
      Fields result(object["result"], problem);
      said->push_back(Judgement{result.Share("accuracy"), result.Number("loss")});
    } else {
      fields.Wrong("result", "an object with \"accuracy\" or \"loss\"");
    }
  }
  if (fields.Has("model")) {
    if (object["model"].is_object()) {
      said->push_back(ReadModel(object["model"], problem));
    } else {
      fields.Wrong("model", "an object with \"description\" and \"parameters\"");
    }
  }
  if (const std::string note = fields.Text("note"); !note.empty()) said->push_back(NoteLine{note});
  if (const std::string error = fields.Text("error"); !error.empty()) {
    said->push_back(ErrorLine{error});
  }
}

}  // namespace

std::vector<Said> ParseMetricsLine(std::string_view line, std::string* problem) {
  problem->clear();
  std::vector<Said> said;
  line = Trim(line);
  if (line.empty()) return said;
  const json object = json::parse(WithoutNaN(line), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    *problem = absl::StrCat("found ", CleanText(line, 80), ", expected a JSON object on each line");
    return said;
  }
  ReadObject(object, problem, &said);
  if (said.empty() && problem->empty()) {
    *problem = absl::StrCat("found ", CleanText(line, 80),
                            ", expected epoch, step, phase, result, model, note or error in it");
  }
  return said;
}

}  // namespace trainyard::program
