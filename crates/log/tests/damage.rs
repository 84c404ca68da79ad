//! Opens partition directories that are damaged in one stated way, and holds what the log reads,
//! reports and answers against the undamaged original and against what Kafka made of the same bytes.
