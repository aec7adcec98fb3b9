"""Files are parsed in a child process, so that a hostile or broken file harms only itself."""
