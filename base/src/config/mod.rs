//! Mistakes in configuration files, shown with file, line, the line itself and a mark.
