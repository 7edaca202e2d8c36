-- finish: id, state, error (JSON or ""). Ends a job once; succeeded only from finalizing. Returns 1 if it ended now.
local job = load_job(A[1])
if not job or is_final(job) then return 0 end
if A[2] == 'succeeded' and job.state ~= 'finalizing' then return 0 end
end_job(job, A[2], A[3])
return 1
