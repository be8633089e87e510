// What cudnnBackendFinalize checks and computes; which engines a graph has.
#include <set>

#include "kernels/cuda/emulation/nvidia/cudnn_engine.h"

namespace trainyard::kernels::cuda::emulation::nvidia {
namespace {

constexpr char kHead[] = "{\"cudnn\":";
constexpr char kMiddle[] = ",\"emulated_plan\":\"";
constexpr char kTail[] = "\"}";
constexpr char kDigits[] = "0123456789abcdef";

std::string Head() { return kHead + std::to_string(CUDNN_VERSION) + kMiddle; }

std::string ToJson(const std::string& saved) {
  std::string json = Head();
  for (const unsigned char byte : saved) {
    json += kDigits[byte / 16];
    json += kDigits[byte % 16];
  }
  return json + kTail;
}

std::string FromJson(std::string json) {
  while (!json.empty() && json.back() == '\0') json.pop_back();
  const std::string head = Head(), tail = kTail;
  if (json.compare(0, sizeof kHead - 1, kHead) == 0 && json.compare(0, head.size(), head) != 0) {
    throw Refusal(CUDNN_STATUS_SERIALIZATION_VERSION_MISMATCH, "a plan of another version");
  }
  const Refusal broken(CUDNN_STATUS_BAD_PARAM, "not the JSON of a plan");
  if (json.size() < head.size() + tail.size() || json.compare(0, head.size(), head) != 0 ||
      json.compare(json.size() - tail.size(), tail.size(), tail) != 0) {
    throw broken;
  }
  const std::string hex = json.substr(head.size(), json.size() - head.size() - tail.size());
  if (hex.size() % 2 != 0) throw broken;
  std::string saved;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const char* high = std::strchr(kDigits, hex[i]);
    const char* low = std::strchr(kDigits, hex[i + 1]);
    if (hex[i] == 0 || hex[i + 1] == 0 || high == nullptr || low == nullptr) throw broken;
    saved += static_cast<char>((high - kDigits) * 16 + (low - kDigits));
  }
  return saved;
}

// In any mode.
std::set<int64_t> AllEngines(const Descriptor& graph) {
  const std::vector<Operation> operations = ReadGraph(graph);
  std::set<int64_t> all;
  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const int64_t index : EnginesOf(operations, mode)) all.insert(index);
  }
  return all;
}

void FinalizeEngine(Descriptor& engine) {
  const auto index = engine.One<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
  if (AllEngines(engine.At(CUDNN_ATTR_ENGINE_OPERATION_GRAPH)).count(index) == 0) {
    throw Refusal(CUDNN_STATUS_NOT_SUPPORTED,
                  "engine " + std::to_string(index) + " does not compute this graph");
  }
  std::vector<cudnnBackendNumericalNote_t> notes;
  if (index == kNondeterministicEngine) notes.push_back(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  if (index == kTensorCoreEngine) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  engine.Compute(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes);
  // Several operations in one kernel are as a rule compiled when they are asked for.
  std::vector<cudnnBackendBehaviorNote_t> behavior;
  if (ReadGraph(engine.At(CUDNN_ATTR_ENGINE_OPERATION_GRAPH)).size() > 1) {
    behavior.push_back(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
  }
  engine.Compute(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, behavior);
  engine.Compute(CUDNN_ATTR_ENGINE_KNOB_INFO, {});
}

void FinalizeHeuristic(Descriptor& heuristic) {
  const Descriptor::Child graph = heuristic.Children(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).front();
  const auto mode = heuristic.One(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A);
  std::vector<Descriptor::Child> results;
  for (const int64_t index : EnginesOf(ReadGraph(*graph), mode)) {
    auto engine = std::make_shared<Descriptor>(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    engine->Compute(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {graph});
    engine->Compute<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, {index});
    engine->Finalize();
    auto config = std::make_shared<Descriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    config->Compute(CUDNN_ATTR_ENGINECFG_ENGINE, {engine});
    config->Finalize();
    results.push_back(config);
  }
  heuristic.Compute(CUDNN_ATTR_ENGINEHEUR_RESULTS, results);
}

void FinalizePlan(Descriptor& plan) {
  const bool loaded = plan.Has(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
  if (loaded == plan.Has(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED,
                  "a plan of an engine's configuration or of JSON: found both or none");
  }
  if (loaded) {
    const std::vector<char> json = plan.All<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
    const Descriptor::Child config = Descriptor::Load(FromJson({json.begin(), json.end()}));
    if (config->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
      throw Refusal(CUDNN_STATUS_BAD_PARAM, "JSON of something that is no plan");
    }
    plan.Compute(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, {config});
  }
  const std::string json = ToJson(plan.At(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG).Save());
  plan.Compute(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
               std::vector<char>(json.begin(), json.end()));
  plan.Compute<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
                        {WorkspaceBytes(ReadPlan(plan).operations)});
}

void FinalizePack(const Descriptor& pack) {
  const auto ids = pack.All<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.All<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  if (ids.size() != pointers.size()) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM, std::to_string(ids.size()) + " ids for " +
                                              std::to_string(pointers.size()) + " pointers");
  }
  if (std::set<int64_t>(ids.begin(), ids.end()).size() != ids.size()) {
    throw Refusal(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "an id twice");
  }
}

}  // namespace

void Descriptor::Finalize() {
  if (finalized_) throw Refusal(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized already");
  CheckChildrenAlive();
  for (const Rule& rule : Rules()) {
    if (rule.of != type || rule.use != Rule::kRequired || Has(rule.name)) continue;
    throw Refusal(CUDNN_STATUS_BAD_PARAM,
                  "attribute " + std::to_string(rule.name) + " was not set");
  }
  switch (type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      CheckTensor(*this);
      break;
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
      CheckConvolution(*this);
      break;
    case CUDNN_BACKEND_POINTWISE_DESCRIPTOR:
      CheckPointwise(*this);
      break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
      Compute<int64_t>(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, CUDNN_TYPE_INT64,
                       {static_cast<int64_t>(AllEngines(*this).size())});
      break;
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
      FinalizeEngine(*this);
      break;
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      FinalizeHeuristic(*this);
      break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      FinalizePlan(*this);
      break;
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      FinalizePack(*this);
      break;
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
      Compute(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, {});
      break;
    case CUDNN_BACKEND_REDUCTION_DESCRIPTOR:
      break;
    default:
      ReadOperation(*this);
  }
  finalized_ = true;
}

}  // namespace trainyard::kernels::cuda::emulation::nvidia
