# `cmake --install` and Debian packages: trainyard-cli, trainyard-coordinator and trainyard-worker, so that
# a Jenkins agent or a GPU host gets just what it needs. `cpack` in the build folder writes the three .deb.
include(GNUInstallDirs)

install(TARGETS trainyard COMPONENT cli)
install(TARGETS trainyard-coordinator COMPONENT coordinator)
install(TARGETS trainyard-worker COMPONENT worker)
install(FILES docs/spec.md docs/spec.schema.json docs/pools.md docs/pools.schema.json
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-coordinator
        COMPONENT coordinator)
install(FILES docs/cli.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/trainyard-cli COMPONENT cli)

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
include(CPack)
