-- Health of an Application is that of what it deployed: without this a wave of Applications does not wait for the one before it.
local hs = {status = "Progressing", message = "not looked at yet"}
if obj.status ~= nil and obj.status.health ~= nil and obj.status.health.status ~= nil then
  hs.status = obj.status.health.status
  hs.message = obj.status.health.message or ""
end
-- Healthy is also what was healthy before the change.
if hs.status == "Healthy" and obj.status.sync ~= nil and obj.status.sync.status == "OutOfSync" and obj.status.operationState ~= nil and obj.status.operationState.phase == "Running" then
  hs.status = "Progressing"
  hs.message = "a sync is running"
end
return hs
