//! A shop that writes order events, for trying Millrace out.
