//! Times as the API writes them.
