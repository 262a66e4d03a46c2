// Package jmx is the Prometheus JMX exporter of the models whose real programs run in a JVM: beans in, by the exporter's own rules, and
// metrics out.
//
// The one rule: which attributes become metrics, and under which names, is what the exporter's configuration says, as the exporter and
// javax.management.ObjectName read it; what they would not take is an error, and so is a rule that asks for more than is modelled.
package jmx
