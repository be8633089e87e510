# `cmake --install` and Debian packages: trainyard-cli, trainyard-coordinator and trainyard-worker, so that
# a Jenkins agent or a GPU host gets just what it needs, and trainyard-worker-cuda where it can be built.
# `cpack` in the build folder writes the .deb files.
include(GNUInstallDirs)

install(TARGETS trainyard COMPONENT cli)
install(FILES docs/jenkins.md ci/Jenkinsfile DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-cli COMPONENT cli)
install(DIRECTORY ci/jenkins DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-cli COMPONENT cli)
install(TARGETS trainyard-coordinator COMPONENT coordinator)
install(TARGETS trainyard-worker COMPONENT worker)
install(FILES docs/spec.md docs/spec.schema.json docs/detection.md docs/pools.md
        docs/pools.schema.json docs/hooks.md docs/hooks.schema.json docs/notifications.md
        docs/notify.schema.json
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-coordinator
        COMPONENT coordinator)
foreach(part "${tree_sitter_core}" "${tree_sitter_grammar}")
  get_filename_component(name "${part}" NAME)
  install(FILES "${part}/LICENSE" DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-coordinator
          RENAME "LICENSE.${name}" COMPONENT coordinator)
endforeach()
install(FILES docs/cli.md docs/import.md docs/programs.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-cli COMPONENT cli)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME trainyard)
set(CPACK_PACKAGE_VENDOR Trainyard)
set(CPACK_PACKAGE_CONTACT "Trainyard developers <developers@trainyard.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL cli coordinator worker)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_CLI_PACKAGE_NAME trainyard-cli)
set(CPACK_DEBIAN_CLI_DESCRIPTION "Trainyard: the command line
 Submits repositories for training, watches them, fetches the best model.")
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_NAME trainyard-coordinator)
set(CPACK_DEBIAN_COORDINATOR_PACKAGE_RECOMMENDS "trainyard-worker, trainyard-cli")
set(CPACK_DEBIAN_COORDINATOR_DESCRIPTION "Trainyard: the coordinator
 Turns pushes into training jobs, tweaks and retrains until the target is met, restarts what dies.")
set(CPACK_DEBIAN_WORKER_PACKAGE_NAME trainyard-worker)
set(CPACK_DEBIAN_WORKER_DESCRIPTION "Trainyard: the worker
 Trains convolutional networks for a Trainyard coordinator.")
if(TARGET trainyard_cuda)
  list(APPEND CPACK_COMPONENTS_ALL cuda)
  set(CPACK_DEBIAN_CUDA_PACKAGE_NAME trainyard-worker-cuda)
  # NVIDIA's libraries come from its own repository or installer, under names that change with each version.
  set(CPACK_DEBIAN_CUDA_PACKAGE_SHLIBDEPS OFF)
  set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "trainyard-worker (= ${PROJECT_VERSION}), libc6, libstdc++6")
  set(CPACK_DEBIAN_CUDA_DESCRIPTION "Trainyard: GPUs for the worker
 The module that a worker loads on a machine with an NVIDIA driver, CUDA 13 and cuDNN 9.")
endif()
include(CPack)
