-- ready: id, n_frames, n_windows, hop, slice_first, slice_next, gain, portrait_digest, warnings (JSON).
-- The plan is made: ask for the portrait unless it is cached, wait for admission.
local job = load_job(A[1])
if not job or (job.state ~= 'queued' and job.state ~= 'ingesting') then return 0 end
touch()
local cached = redis.call('EXISTS', P .. 'portrait:' .. A[8])
redis.call('HSET', job.key, 'n_frames', A[2], 'n_windows', A[3], 'hop', A[4], 'slice_first', A[5], 'slice_next', A[6],
  'gain', A[7], 'portrait_digest', A[8], 'warnings', A[9], 'encode_next', '0', 'motion_next', '0', 'front', '0',
  'muxed', '0', 'tail', '0', 'rendered', '0', 'portrait_ready', int(cached))
redis.call('ZADD', P .. 'ready', redis.call('HGET', job.key, 'created'), job.id)
set_state(job, 'ready')
if cached == 1 then
  redis.call('EXPIRE', P .. 'portrait:' .. A[8], int(L.appearance_ttl_s))
else
  issue(job, 'portrait')
end
admit()
return 1
