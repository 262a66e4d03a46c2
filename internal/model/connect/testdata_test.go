package connect

// resources are a worker and a connector as the manifests write them, with settings that make tests quick. %s is put
// into the connector's config.
const resources = `
apiVersion: v1
kind: ConfigMap
metadata: {name: connect-metrics}
data:
  metrics-config.yaml: |
    lowercaseOutputName: true
    lowercaseOutputLabelNames: true
    rules:
      - pattern: "kafka.connect<type=connector-task-metrics, connector=(.+), task=(.+)><>status: (.+)"
        name: kafka_connect_connector_task_status
        value: 1
        labels: {Connector: $1, task: $2, status: $3}
        type: GAUGE
      - pattern: kafka.connect<type=(.+)-metrics, connector=(.+), task=(.+)><>(.+-total|.+-requests)
        name: kafka_connect_$1_$4
        labels: {connector: $2, task: $3}
        type: COUNTER
      - pattern: kafka.connect<type=(.+)-metrics, connector=(.+), task=(.+)><>(.+-count)
        name: kafka_connect_$1_$4
        labels: {connector: $2, task: $3}
        type: GAUGE
      - pattern: "kafka.consumer<type=consumer-fetch-manager-metrics, client-id=(.+), topic=(.+)><>records-consumed-total:"
        name: kafka_consumer_fetch_manager_records_consumed_total
        labels: {client_id: $1, topic: $2}
        type: COUNTER
      - pattern: "kafka.consumer<type=consumer-fetch-manager-metrics, client-id=(.+), topic=(.+), partition=(.+)><>(records-lag):"
        name: kafka_consumer_fetch_manager_$4
        labels: {topic: $2, partition: $3}
        type: GAUGE
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaConnect
metadata: {name: sink}
spec:
  version: 4.3.1
  replicas: 2
  bootstrapServers: kafka:9094
  groupId: triad-connect
  resources: {limits: {memory: 1Gi}}
  config:
    key.converter: org.apache.kafka.connect.storage.StringConverter
    value.converter: org.apache.kafka.connect.json.JsonConverter
    value.converter.schemas.enable: false
    consumer.session.timeout.ms: 1000
    consumer.heartbeat.interval.ms: 100
    consumer.max.poll.records: 50
    consumer.partition.assignment.strategy: org.apache.kafka.clients.consumer.CooperativeStickyAssignor
    offset.flush.interval.ms: 200
    config.storage.replication.factor: 3
    plugin.discovery: hybrid_warn
  metricsConfig:
    type: jmxPrometheusExporter
    valueFrom: {configMapKeyRef: {name: connect-metrics, key: metrics-config.yaml}}
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaConnector
metadata:
  name: logs
  labels: {strimzi.io/cluster: sink}
spec:
  class: io.confluent.connect.elasticsearch.ElasticsearchSinkConnector
  tasksMax: 2
  autoRestart: {enabled: %s}
  config:
    topics: a-topic,B-topic
    connection.url: http://elasticsearch:9200
    key.ignore: true
    schema.ignore: true
    batch.size: 40
    linger.ms: 5
    max.buffered.records: 200
    max.retries: 3
    retry.backoff.ms: 10
    consumer.override.fetch.max.wait.ms: 50
    transforms: route
%s
`
