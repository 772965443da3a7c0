//! Names and labels: the syntax rules of DNS names, path segments and qualified names.
