// Package jmx matches the names of MBeans as the JMX exporter's includeObjectNames and excludeObjectNames do.
//
// The one rule: a name is in when javax.management.ObjectName's pattern matching says so, and a pattern that it would not take is an
// error.
package jmx
