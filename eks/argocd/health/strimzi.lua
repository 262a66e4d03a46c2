-- Health of what Strimzi's operators keep: Kafka, KafkaConnect, KafkaTopic, KafkaUser, KafkaConnector, KafkaNodePool. One script for all.
-- An older status than the last change says nothing: the operator has not looked yet.
local hs = {status = "Progressing", message = "the operator has not looked yet"}
local status = obj.status
if status == nil then
  return hs
end
local annotations = obj.metadata.annotations
if annotations ~= nil and annotations["strimzi.io/pause-reconciliation"] == "true" then
  return {status = "Suspended", message = "paused: strimzi.io/pause-reconciliation"}
end
if status.observedGeneration ~= nil and obj.metadata.generation ~= nil and status.observedGeneration < obj.metadata.generation then
  return hs
end

-- A pool has no Ready of its own: it is there when it has as many nodes as it wants. The Kafka resource speaks for them.
if obj.kind == "KafkaNodePool" then
  local have = 0
  if status.nodeIds ~= nil then
    have = #status.nodeIds
  end
  if have == obj.spec.replicas then
    return {status = "Healthy", message = have .. " nodes"}
  end
  return {status = "Progressing", message = have .. " of " .. obj.spec.replicas .. " nodes"}
end

-- A connector is Ready to its operator while a task of it has failed: records stop, so it is not healthy.
if obj.kind == "KafkaConnector" and status.connectorStatus ~= nil then
  local connector = status.connectorStatus.connector
  if connector ~= nil and connector.state == "FAILED" then
    return {status = "Degraded", message = "the connector has failed"}
  end
  if status.connectorStatus.tasks ~= nil then
    for _, task in ipairs(status.connectorStatus.tasks) do
      if task.state == "FAILED" then
        return {status = "Degraded", message = "task " .. task.id .. " has failed"}
      end
    end
  end
end

if status.conditions ~= nil then
  for _, condition in ipairs(status.conditions) do
    if condition.type == "NotReady" and condition.status == "True" then
      -- Strimzi reports a cluster that is being made as NotReady with reason Creating.
      if condition.reason == "Creating" then
        return {status = "Progressing", message = "being made"}
      end
      return {status = "Degraded", message = condition.message or condition.reason or "not ready"}
    end
    if condition.type == "Ready" and condition.status == "True" then
      return {status = "Healthy", message = ""}
    end
    if condition.type == "Ready" and condition.status == "False" then
      return {status = "Degraded", message = condition.message or condition.reason or "not ready"}
    end
  end
end
hs.message = "no word on readiness"
return hs
