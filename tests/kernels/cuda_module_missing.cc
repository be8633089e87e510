// The library that is not there when a stand-in linked to it is loaded.
extern "C" void NoSuchLibraryWhenLoaded() {}
