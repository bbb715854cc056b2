//! The data path: from an agent's connection to a decided, masked and recorded answer.
