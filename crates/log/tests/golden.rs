//! Opens every undamaged partition directory Apache Kafka left behind and compares all that the log
//! says of it with what Kafka itself, and independent readers, said.
