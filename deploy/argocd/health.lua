-- The health of a CiliumHybrid for Argo CD: one of Healthy, Progressing, Degraded, Suspended.
local status = obj.status or {}
local is = {}
for _, condition in ipairs(status.conditions or {}) do
  is[condition.type] = condition
end
local ready = is.Ready

if ready == nil or (status.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "waiting for the operator to look at it" }
end

local message = ready.reason .. ": " .. ready.message
if ready.reason == "Suspended" or ready.reason == "AwaitingApproval" then
  return { status = "Suspended", message = message }
end
if is.Stalled ~= nil and is.Stalled.status == "True" then
  return { status = "Degraded", message = message }
end
if ready.status == "True" then
  return { status = "Healthy", message = message }
end
if is.Reconciling ~= nil and is.Reconciling.status == "True" then
  return { status = "Progressing", message = message }
end
return { status = "Degraded", message = message }
