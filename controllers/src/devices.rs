//! Loops about devices: claims made from templates, reservations taken back.

pub mod claims;
