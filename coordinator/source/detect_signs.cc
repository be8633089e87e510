#include "coordinator/source/detect_signs.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <set>

namespace trainyard::coordinator {
namespace {

using Words = std::initializer_list<std::string_view>;

bool OneOf(std::string_view word, Words words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool ContainsOneOf(std::string_view text, Words words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != text.npos; });
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

std::string_view Root(std::string_view name) { return name.substr(0, name.find_first_of(".([")); }

std::string_view Last(std::string_view name) { return name.substr(name.rfind('.') + 1); }

// What stands before the last dot: "model" of "model.fit".
std::string_view Receiver(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == name.npos ? std::string_view() : name.substr(0, dot);
}

// What has a fit() that only prepares data.
bool OnlyPrepares(std::string_view receiver) {
  return ContainsOneOf(
      Lower(receiver),
      {"preprocessing.", "feature_extraction.", "feature_selection.", "decomposition.", "impute.",
       "random_projection.", "manifold.", "columntransformer", "imagedatagenerator", "datagen",
       "tokenizer", "scaler", "encoder", "vectorizer", "imputer", "binarizer", "pca", "normalizer",
       "discretizer"});
}

// A method on something whose type the code does not tell.
std::optional<TrainingSign> MethodSign(std::string_view receiver, std::string_view method) {
  if (OneOf(method, {"fit_generator", "train_on_batch"})) {
    return TrainingSign{Framework::kKeras, true};
  }
  if (method == "fit" && !OnlyPrepares(receiver)) return TrainingSign{Framework::kNone, true};
  if (method == "partial_fit" && !OnlyPrepares(receiver)) return TrainingSign{};
  if (OneOf(method, {"backward", "apply_gradients"})) return TrainingSign{};
  const bool optimizer = Lower(receiver).find("opt") != receiver.npos;
  if (method == "step" && optimizer) return TrainingSign{};
  if (method == "minimize" && optimizer) return TrainingSign{Framework::kKeras};
  if (OneOf(method, {"fit_one_cycle", "fine_tune"})) return TrainingSign{Framework::kTorch};
  return std::nullopt;
}

std::optional<TrainingSign> KerasSign(std::string_view meaning, std::string_view receiver,
                                      std::string_view last) {
  if (OneOf(last, {"fit", "fit_generator", "train_on_batch"}) && !OnlyPrepares(receiver)) {
    return TrainingSign{Framework::kKeras, true};
  }
  const bool searches = last == "search" && ContainsOneOf(meaning, {"tuner"});
  const bool estimates =
      OneOf(last, {"train", "train_and_evaluate"}) && ContainsOneOf(meaning, {".estimator."});
  if (OneOf(last, {"GradientTape", "apply_gradients", "minimize"}) || searches || estimates) {
    return TrainingSign{Framework::kKeras};
  }
  return std::nullopt;
}

std::optional<TrainingSign> TorchSign(std::string_view meaning, std::string_view last) {
  const bool steps = last == "step" && ContainsOneOf(meaning, {".optim."}) &&
                     !ContainsOneOf(meaning, {"lr_scheduler"});
  const bool trains = last == "train" && ContainsOneOf(meaning, {"Trainer()", "YOLO()"});
  const bool fits = OneOf(last, {"fit", "fit_one_cycle", "fine_tune", "backward"});
  if (steps || trains || fits) return TrainingSign{Framework::kTorch};
  return std::nullopt;
}

std::optional<TrainingSign> SklearnSign(std::string_view meaning, std::string_view receiver,
                                        std::string_view last) {
  const bool fits = OneOf(last, {"fit", "partial_fit", "fit_predict"}) && !OnlyPrepares(receiver);
  const bool validates = OneOf(last, {"cross_val_score", "cross_validate", "cross_val_predict"});
  if (fits || validates || OneOf(meaning, {"xgboost.train", "lightgbm.train", "xgboost.cv"})) {
    return TrainingSign{Framework::kSklearn};
  }
  return std::nullopt;
}

constexpr std::string_view kStandardLibrary =
    " __future__ abc aifc argparse array ast asyncio atexit base64 bisect builtins bz2 calendar "
    "cgi "
    "cmath cmd code codecs collections colorsys concurrent configparser contextlib contextvars "
    "copy "
    "copyreg cProfile cPickle csv ctypes curses dataclasses datetime dbm decimal difflib dis "
    "doctest "
    "email encodings enum errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib "
    "functools gc getopt getpass gettext glob grp gzip hashlib heapq hmac html http imaplib imghdr "
    "imp importlib inspect io ipaddress itertools json keyword linecache locale logging lzma "
    "mailbox "
    "marshal math mimetypes mmap modulefinder multiprocessing netrc numbers operator optparse os "
    "pathlib pdb pickle pickletools pkgutil platform plistlib poplib posixpath pprint profile "
    "pstats "
    "pty pwd pyclbr pydoc queue quopri random re readline reprlib resource runpy sched secrets "
    "select selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat "
    "statistics string StringIO struct subprocess symtable sys sysconfig syslog tarfile telnetlib "
    "tempfile termios textwrap threading time timeit tkinter token tokenize tomllib trace "
    "traceback "
    "tracemalloc tty turtle types typing unicodedata unittest urllib urllib2 uuid venv warnings "
    "wave "
    "weakref webbrowser winreg xml xmlrpc zipapp zipfile zipimport zlib zoneinfo pip setuptools "
    "wheel pkg_resources python python3 six typing_extensions trainyard_program ";

// Import names of what the images have, as the lists of docker/ install it.
constexpr std::string_view kEveryImage =
    " numpy scipy pandas sklearn matplotlib mpl_toolkits PIL joblib cloudpickle threadpoolctl "
    "dateutil pytz packaging cycler kiwisolver ";
constexpr std::string_view kKerasImage =
    " keras tensorflow h5py absl google requests rich optree ml_dtypes termcolor "
    "wrapt ";
constexpr std::string_view kTorchImage = " torch torchvision requests yaml psutil sympy ";

bool Has(std::string_view list, std::string_view name) {
  return list.find(" " + std::string(name) + " ") != list.npos;
}

}  // namespace

std::string PackageName(std::string_view requirement) {
  static const std::map<std::string, std::string, std::less<>> kNames = {
      {"scikit-learn", "sklearn"},
      {"pillow", "PIL"},
      {"pyyaml", "yaml"},
      {"python-dateutil", "dateutil"},
      {"opencv-python", "cv2"},
      {"opencv-python-headless", "cv2"},
      {"scikit-image", "skimage"},
      {"tensorflow-cpu", "tensorflow"},
      {"tensorflow-gpu", "tensorflow"},
      {"absl-py", "absl"},
      {"protobuf", "google"},
      {"typing-extensions", "typing_extensions"},
      {"pytorch", "torch"},
  };
  std::string name = Lower(requirement);
  std::replace(name.begin(), name.end(), '_', '-');
  const auto found = kNames.find(name);
  if (found != kNames.end()) return found->second;
  name = requirement;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

Framework FrameworkOfPackage(std::string_view package) {
  static const std::map<std::string_view, Framework> kPackages = [] {
    std::map<std::string_view, Framework> packages;
    const auto add = [&](Framework framework, Words names) {
      for (const std::string_view name : names) packages[name] = framework;
    };
    add(Framework::kKeras, {"keras", "tensorflow", "tf_keras", "keras_core", "tflearn",
                            "tensorflow_addons", "keras_tuner", "kerastuner", "keras_cv",
                            "autokeras", "tensorflow_hub", "tensorflow_datasets"});
    add(Framework::kTorch,
        {"torch", "torchvision", "torchaudio", "pytorch_lightning", "lightning", "fastai", "timm",
         "ultralytics", "transformers", "accelerate", "monai", "ignite", "skorch"});
    add(Framework::kSklearn,
        {"sklearn", "xgboost", "lightgbm", "catboost", "statsmodels", "imblearn"});
    add(Framework::kOther, {"jax", "flax", "optax", "haiku", "mxnet", "gluoncv", "paddle",
                            "chainer", "theano", "lasagne", "caffe", "caffe2", "mindspore"});
    add(Framework::kNumpy, {"numpy"});
    return packages;
  }();
  const auto found = kPackages.find(package);
  return found == kPackages.end() ? Framework::kNone : found->second;
}

Framework FrameworkOfRequirement(std::string_view name) {
  std::string last = Lower(name.substr(name.rfind('/') + 1));
  last = last.substr(0, last.find(':'));
  return FrameworkOfPackage(PackageName(last));
}

std::string_view ProgramFramework(Framework framework) {
  switch (framework) {
    case Framework::kKeras:
      return "keras";
    case Framework::kTorch:
      return "torch";
    case Framework::kSklearn:
    case Framework::kNumpy:  // its image has NumPy
      return "sklearn";
    default:
      return "other";
  }
}

std::string_view FrameworkTitle(Framework framework) {
  switch (framework) {
    case Framework::kKeras:
      return "Keras";
    case Framework::kTorch:
      return "PyTorch";
    case Framework::kSklearn:
      return "scikit-learn";
    case Framework::kNumpy:
      return "NumPy";
    default:
      return "another framework";
  }
}

std::optional<TrainingSign> TrainingOf(const PythonUse& use, std::string_view meaning) {
  if (!use.called) return std::nullopt;
  if (meaning.empty()) {
    if (use.name.find('.') == use.name.npos) return std::nullopt;
    return MethodSign(Receiver(use.name), Last(use.name));
  }
  const std::string_view last = Last(meaning);
  switch (FrameworkOfPackage(Root(meaning))) {
    case Framework::kKeras:
      return KerasSign(meaning, Receiver(meaning), last);
    case Framework::kTorch:
      return TorchSign(meaning, last);
    case Framework::kSklearn:
      return SklearnSign(meaning, Receiver(meaning), last);
    case Framework::kOther:
      if (!OneOf(last, {"grad", "value_and_grad", "fit", "backward"})) return std::nullopt;
      return TrainingSign{Framework::kOther};
    case Framework::kNumpy:
      return std::nullopt;
    case Framework::kNone:
      break;
  }
  // What a package that is not known hands out may be a model.
  if (OneOf(Root(meaning), {"scipy", "pandas", "statsmodels"})) return std::nullopt;
  return MethodSign(Receiver(meaning), last);
}

bool IsConvolution(std::string_view meaning) {
  const std::string_view last = Last(meaning.substr(0, meaning.find('(')));
  const std::string_view root = Root(meaning);
  const bool keras = FrameworkOfPackage(root) == Framework::kKeras;
  if (keras && meaning.find(".applications.") != meaning.npos) {
    const char first = last.empty() ? ' ' : last[0];
    return first >= 'A' && first <= 'Z';  // a model, not a module or preprocess_input
  }
  if (keras) {
    static const std::set<std::string_view> kLayers = {"Conv1D",
                                                       "Conv2D",
                                                       "Conv3D",
                                                       "SeparableConv1D",
                                                       "SeparableConv2D",
                                                       "DepthwiseConv1D",
                                                       "DepthwiseConv2D",
                                                       "Conv1DTranspose",
                                                       "Conv2DTranspose",
                                                       "Conv3DTranspose",
                                                       "Convolution1D",
                                                       "Convolution2D",
                                                       "Convolution3D",
                                                       "ConvLSTM2D",
                                                       "Deconvolution2D",
                                                       "conv2d",
                                                       "conv1d",
                                                       "conv3d",
                                                       "SeparableConvolution2D"};
    return kLayers.contains(last);
  }
  if (meaning.starts_with("torchvision.models.")) return last[0] != '_' && !last.starts_with("vit");
  if (root != "torch") return false;
  const bool layer = meaning.starts_with("torch.nn.") || meaning.starts_with("torch.conv");
  return layer &&
         (last.starts_with("Conv") || last.starts_with("LazyConv") || last.starts_with("conv"));
}

DeviceSign DeviceOf(const PythonUse& use, std::string_view meaning) {
  const auto says = [&](auto test) {
    return std::any_of(use.strings.begin(), use.strings.end(), test);
  };
  const bool cuda = says([](const std::string& text) { return text.starts_with("cuda"); });
  const bool visible =
      ContainsOneOf(meaning, {"os.environ[]=", "os.environ.setdefault", "os.putenv"});
  if (visible && use.strings.size() == 2 && use.strings[0] == "CUDA_VISIBLE_DEVICES") {
    return use.strings[1].empty() || use.strings[1] == "-1" ? DeviceSign::kCpuForced
                                                            : DeviceSign::kNone;
  }
  if (meaning.ends_with("set_visible_devices") && use.strings.size() == 2 &&
      use.strings[0] == "[]" && use.strings[1] == "GPU") {
    return DeviceSign::kCpuForced;
  }
  const std::string_view last = Last(use.name);
  const bool device = meaning == "torch.device" || meaning == "torch.set_default_device";
  if (use.called && (last == "cuda" || (last == "to" && cuda) || (device && cuda))) {
    return DeviceSign::kGpu;
  }
  if (ContainsOneOf(meaning, {"mixed_precision.", "torch.cuda.amp.", "torch.amp."})) {
    return DeviceSign::kGpu;
  }
  if (use.called && device && !use.strings.empty() && use.strings[0] == "cpu") {
    return DeviceSign::kCpuAsked;
  }
  return DeviceSign::kNone;
}

std::string DataSetOf(const PythonUse& use, std::string_view meaning) {
  if (!use.called) return "";
  const std::string_view root = Root(meaning);
  const std::string argument = use.strings.empty() ? "" : use.strings[0];
  constexpr std::string_view kLoad = ".load_data";
  constexpr std::string_view kDatasets = ".datasets.";
  const size_t at = meaning.find(kDatasets);
  if (FrameworkOfPackage(root) == Framework::kKeras && meaning.ends_with(kLoad) &&
      at != meaning.npos) {
    const std::string_view module = meaning.substr(at + kDatasets.size());
    return std::string(module.substr(0, module.find('.')));
  }
  if (meaning == "tensorflow_datasets.load") return argument;
  const std::string_view last = Last(meaning);
  if (meaning.starts_with("torchvision.datasets.") &&
      !OneOf(last, {"ImageFolder", "DatasetFolder"})) {
    return std::string(last);
  }
  if (meaning == "sklearn.datasets.fetch_openml") return argument;
  if (meaning.starts_with("sklearn.datasets.fetch_")) return std::string(last.substr(6));
  return "";
}

bool ImageHas(std::string_view framework, std::string_view package) {
  const std::string name = PackageName(package);
  if (Has(kStandardLibrary, name) || Has(kEveryImage, name)) return true;
  if (framework == "keras") return Has(kKerasImage, name);
  if (framework == "torch") return Has(kTorchImage, name);
  return framework == "other";  // whoever names the image of other frameworks knows what it has
}

}  // namespace trainyard::coordinator
