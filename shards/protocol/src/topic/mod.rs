//! Topic names and topic filters, checked once and then carried by type.
//!
//! A [`TopicName`] is what a PUBLISH may name; a [`Filter`] is what a SUBSCRIBE
//! may ask for, with the share group of `$share/{group}/{filter}` split off.
//! Code behind this module never sees an unchecked string.

