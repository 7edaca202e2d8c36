-- commit_mux: id, unit, entry, window. The segment is in its place already.
local w = tonumber(A[4])
local job = load_job(A[1])
local due = job and is_active(job, 'mux') and holds(job, A[2], A[3])
release(KEYS[1], A[3])
if not due then
  if job and job.state == 'finalizing' then return 'finalizing' end
  return 'skipped'
end
if w >= job.front then redis.call('HSET', job.key, 'mx:' .. int(w), '1') end
clear(job, A[2])
roll_front(job)
if job.state == 'finalizing' then return 'finalizing' end
progress(job)
advance(job)
return 'done'
