-- commit_slice: id, unit, entry, first frame, frames. The slice was SET before; without it the worker must SET it again.
local first, n = tonumber(A[4]), tonumber(A[5])
local key = P .. 'job:' .. A[1] .. ':slice:' .. int(first)
local job = load_job(A[1])
if not job or not is_active(job, 'render') or not holds(job, A[2], A[3]) then
  release(KEYS[1], A[3])
  if job and job.state == 'succeeded' and first >= job.tail then
    redis.call('EXPIRE', key, int(L.ended_slice_ttl_s))  -- drawn twice, still within the tail that viewers may read
  elseif not job or is_final(job) or first < job.tail then
    redis.call('UNLINK', key)
  end
  return 'skipped'
end
if redis.call('EXISTS', key) == 0 then return 'again' end
release(KEYS[1], A[3])
clear(job, A[2])
redis.call('HSET', job.key, 'rendered', int(rendered(job)), 'progress_at', now())
event(job, 'slice', 'first', int(first), 'n', int(n))
issue_mux_if_drawn(job, math.floor(first / job.hop))
return 'done'
