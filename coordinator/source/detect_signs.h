// What names mean for detection: which packages are frameworks, which calls train, which are
// convolutions, which ask for a GPU or for data. Names are full ones from PythonProgram::Meaning.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "coordinator/source/python_file.h"

namespace trainyard::coordinator {

enum class Framework { kNone, kNumpy, kSklearn, kTorch, kKeras, kOther };

// "scikit-learn" -> "sklearn": what a requirement is imported as.
std::string PackageName(std::string_view requirement);
// Of a package's import name, "sklearn"; kNone: it is no framework.
Framework FrameworkOfPackage(std::string_view package);
// Of a requirement, a Debian or container image name: "scikit-learn", "tensorflow/tensorflow:2.15".
Framework FrameworkOfRequirement(std::string_view name);
// As Program.framework has it.
std::string_view ProgramFramework(Framework framework);
// For people: "Keras", "scikit-learn".
std::string_view FrameworkTitle(Framework framework);

struct TrainingSign {
  Framework framework = Framework::kNone;  // kNone: whichever the program uses
  bool keras_fit = false;                  // what our hooks see, if the framework is Keras
};
// Whether the use is a call that trains. `meaning`: its full name, or empty.
std::optional<TrainingSign> TrainingOf(const PythonUse& use, std::string_view meaning);

bool IsConvolution(std::string_view meaning);

enum class DeviceSign { kNone, kGpu, kCpuAsked, kCpuForced };
DeviceSign DeviceOf(const PythonUse& use, std::string_view meaning);

// The data set that the call loads; empty: none.
std::string DataSetOf(const PythonUse& use, std::string_view meaning);

// Whether the image of the framework has the package (import name or requirement), or Python
// itself.
bool ImageHas(std::string_view framework, std::string_view package);

}  // namespace trainyard::coordinator
