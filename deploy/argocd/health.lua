-- Argo CD health check for CiliumHybrid: returns Healthy, Progressing, Degraded or Suspended.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready

if ready == nil or (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "waiting for the operator to observe this generation" }
end

local message = ready.reason .. ": " .. ready.message
if ready.reason == "Suspended" or ready.reason == "AwaitingApproval" then
  return { status = "Suspended", message = message }
end
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  return { status = "Degraded", message = message }
end
if ready.status == "True" then
  return { status = "Healthy", message = message }
end
if conditions.Reconciling ~= nil and conditions.Reconciling.status == "True" then
  return { status = "Progressing", message = message }
end
return { status = "Degraded", message = message }
