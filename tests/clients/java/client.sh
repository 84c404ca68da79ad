#!/usr/bin/env bash
# Runs Client.java, compiled by ../run, against the jars of Apache Kafka; logs go to standard error.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=$here/log4j2.properties" \
  -cp "$here/classes:$("$here/../../peers/kafka.sh" classpath)" Client "$@"
