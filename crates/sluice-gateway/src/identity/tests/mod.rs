mod keys;
mod matrix;
mod provider;

use super::*;
