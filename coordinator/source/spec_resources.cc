// `resources`: where a job may run, and before whom.
#include "coordinator/source/spec_parts.h"
#include "coordinator/source/spec_values.h"

namespace trainyard::coordinator {

void ReadResources(const Section& root, v1::Resources* resources, SpecProblems* problems) {
  constexpr int kPriorityMax = 100;
  Section section(root.Find("resources"), "resources", "resources", problems);
  if (const YamlNode* pool = section.Find("pool")) {
    ReadPoolName(*pool, section.PathOf("pool"), resources->mutable_pool(), problems);
  }
  v1::Resources::Gpu gpu = v1::Resources::ANY;
  section.Word<v1::Resources::Gpu>("gpu",
                                   {{"any", v1::Resources::ANY},
                                    {"none", v1::Resources::NONE},
                                    {"required", v1::Resources::REQUIRED}},
                                   &gpu);
  resources->set_gpu(gpu);
  int64_t bytes = 0;
  const YamlNode* memory = section.Find("gpu_memory");
  if (memory && gpu == v1::Resources::NONE) {
    section.Problem("gpu_memory", Describe(*memory) +
                                      " beside gpu: none, expected gpu: any or required, or no "
                                      "gpu_memory");
  } else if (memory && ReadBytes(*memory, section.PathOf("gpu_memory"), &bytes, problems)) {
    resources->set_gpu_memory_bytes(bytes);
  }
  std::map<std::string, std::string> labels;
  if (const YamlNode* node = section.Find("labels")) {
    ReadLabels(*node, section.PathOf("labels"), &labels, problems);
  }
  for (const auto& [name, value] : labels) (*resources->mutable_labels())[name] = value;
  int32_t priority = 0;
  section.Integer("priority", -kPriorityMax, kPriorityMax, &priority);
  resources->set_priority(priority);
}

}  // namespace trainyard::coordinator
