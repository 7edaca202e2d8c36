-- lost_slices: id, unit, entry, first frame ... The muxer found slices missing: draw them again, withdraw the mux unit.
-- "again" when they are all there after all.
local job = load_job(A[1])
if not job or not is_active(job, 'mux') or not holds(job, A[2], A[3]) then
  release(KEYS[1], A[3])
  return 'skipped'
end
local missing = {}
for i = 4, #A do
  local first = tonumber(A[i])
  if redis.call('EXISTS', slice_key(job, first)) == 0 then missing[#missing + 1] = first end
end
if #missing == 0 then return 'again' end
release(KEYS[1], A[3])
clear(job, A[2])
for _, first in ipairs(missing) do
  if redis.call('HEXISTS', job.turns, 'render:' .. int(first)) == 0 then issue(job, 'render', first) end
end
return 'done'
