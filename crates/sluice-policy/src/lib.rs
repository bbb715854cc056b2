//! Policy: the types people write, compiled to decisions and explained.
