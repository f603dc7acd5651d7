//! Nothing: this package only names a source; see its manifest.
