//! Messages under way, beside a slow and obvious model.
