//! `argosyd`, the server of Argosy, as a library.
pub mod app;
