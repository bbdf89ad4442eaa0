// MuJoCo's step as a custom call of XLA: states of many robots in, states after one environment step out, in threads.
//
// The same arithmetic as native.py, in the same order, which calls MuJoCo through Python. Built by compiled.py with the headers
// that jaxlib and mujoco bring. A program names its physics by a string, so that it can be kept and loaded by another process.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include <mujoco/mujoco.h>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

enum class Place { kRoot, kTorso, kMassCentre };

// MjData of one model, one per thread that is at work.
class Workspaces {
 public:
  explicit Workspaces(const mjModel* model) : model_(model) {}
  mjData* Take() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        mjData* data = free_.back();
        free_.pop_back();
        return data;
      }
    }
    return mj_makeData(model_);
  }
  void Give(mjData* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(data);
  }

 private:
  const mjModel* model_;
  std::mutex mutex_;
  std::vector<mjData*> free_;
};

// A workspace, given back in the end.
class Borrowed {
 public:
  explicit Borrowed(Workspaces& from) : from_(&from), data_(from.Take()) {}
  Borrowed(Borrowed&& other) : from_(other.from_), data_(other.data_) { other.data_ = nullptr; }
  ~Borrowed() {
    if (data_) from_->Give(data_);
  }
  mjData* get() const { return data_; }

 private:
  Workspaces* from_;
  mjData* data_;
};

// Copies of a model with changed numbers, made once each; the least recently used leave first.
class Models {
 public:
  Models(const mjModel* model, size_t limit) : model_(model), limit_(limit) {}

  // One model per row of `factors` [batch, count]. What is returned keeps the models alive.
  std::vector<std::shared_ptr<const mjModel>> Changed(const float* factors, int64_t batch, int64_t count) {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::shared_ptr<const mjModel>> found;
    found.reserve(batch);
    std::string key;
    for (int64_t row = 0; row < batch; ++row) {
      key.assign(reinterpret_cast<const char*>(factors + row * count), count * sizeof(float));
      auto there = by_key_.find(key);
      if (there == by_key_.end()) {
        recent_.emplace_front(key, Make(factors + row * count));
        by_key_[key] = recent_.begin();
      } else if (there->second != recent_.begin()) {
        recent_.splice(recent_.begin(), recent_, there->second);
      }
      found.push_back(recent_.front().second);
    }
    size_t limit = std::max(limit_, static_cast<size_t>(batch));  // else each step would make all anew
    while (recent_.size() > limit) {
      by_key_.erase(recent_.back().first);
      recent_.pop_back();
    }
    return found;
  }

 private:
  std::shared_ptr<const mjModel> Make(const float* factor) {
    mjModel* model = mj_copyModel(nullptr, model_);
    for (int i = 0; i < model->nbody; ++i) model->body_mass[i] = model_->body_mass[i] * double(*factor++);
    for (int i = 0; i < 3 * model->nbody; ++i) model->body_inertia[i] = model_->body_inertia[i] * double(*factor++);
    for (int i = 0; i < model->nv; ++i) model->dof_damping[i] = model_->dof_damping[i] * double(*factor++);
    for (int i = 0; i < 3 * model->ngeom; ++i) model->geom_friction[i] = model_->geom_friction[i] * double(*factor++);
    return std::shared_ptr<const mjModel>(model, [](const mjModel* m) { mj_deleteModel(const_cast<mjModel*>(m)); });
  }

  using Entry = std::pair<std::string, std::shared_ptr<const mjModel>>;
  const mjModel* model_;
  size_t limit_;
  std::mutex mutex_;
  std::list<Entry> recent_;
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
};

// Threads that wait for work. One call at a time has them; another that comes meanwhile works alone.
class Helpers {
 public:
  explicit Helpers(int count) {
    for (int i = 0; i < count; ++i) std::thread([this] { Loop(); }).detach();
  }

  // Run `work` in this thread and in all that are free; it must end soon where others have done everything.
  void Run(const std::function<void()>& work) {
    std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
    if (!mine) return work();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      ++call_;
    }
    begin_.notify_all();
    work();
    std::unique_lock<std::mutex> lock(mutex_);
    work_ = nullptr;
    end_.wait(lock, [this] { return active_ == 0; });
  }

 private:
  void Loop() {
    int64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      begin_.wait(lock, [&] { return work_ && call_ != seen; });
      seen = call_;
      const std::function<void()>* work = work_;
      ++active_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--active_ == 0) end_.notify_all();
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable begin_, end_;
  const std::function<void()>* work_ = nullptr;
  int64_t call_ = 0;
  int active_ = 0;
};

struct Physics {
  const mjModel* model;
  const mjModel* twin;  // the same robot with Euler steps and a sensor of the centre of mass; the model itself for kRoot
  Place place;
  int frame_skip;
  Helpers helpers;
  Workspaces data, twin_data;
  Models models, twins;

  Physics(const mjModel* model, const mjModel* twin, Place place, int frame_skip, int threads, size_t limit)
      : model(model), twin(twin), place(place), frame_skip(frame_skip), helpers(threads - 1), data(model), twin_data(twin),
        models(model, limit), twins(twin, limit) {}

  int64_t size() const { return model->nq + model->nv + 2; }
  int64_t num_factors() const { return 4 * model->nbody + model->nv + 3 * model->ngeom; }
};

std::mutex registry_mutex;
std::unordered_map<std::string, std::unique_ptr<Physics>>& Registry() {
  static auto* registry = new std::unordered_map<std::string, std::unique_ptr<Physics>>();
  return *registry;
}

Physics* Find(std::string_view name) {
  std::lock_guard<std::mutex> lock(registry_mutex);
  auto found = Registry().find(std::string(name));
  return found == Registry().end() ? nullptr : found->second.get();
}

// Work on rows [0, batch) in threads, some at a time: `work(first, last)` with a workspace of its own, which `start` makes.
template <typename Start>
void InThreads(Helpers& helpers, int64_t batch, Start start) {
  constexpr int64_t kRows = 4;  // some hundred microseconds
  std::atomic<int64_t> next{0};
  auto loop = [&] {
    if (next >= batch) return;
    auto work = start();
    for (int64_t first; (first = next.fetch_add(kRows)) < batch;) work(first, std::min(batch, first + kRows));
  };
  batch <= kRows ? loop() : helpers.Run(loop);
}

bool Warned(const mjData* data) {
  for (int i = 0; i < mjNWARNING; ++i) {
    if (data->warning[i].number) return true;
  }
  return false;
}

// A state at rest in time: what mujoco.rollout sets before its first step.
void Set(const mjModel* model, mjData* data, const double* qpos, const double* qvel) {
  data->time = 0;
  mju_copy(data->qpos, qpos, model->nq);
  mju_copy(data->qvel, qvel, model->nv);
  mju_zero(data->qacc_warmstart, model->nv);
  for (int i = 0; i < mjNWARNING; ++i) data->warning[i].number = 0;
}

// One Euler step of the twin: the acceleration at a state, and the place of the centre of mass there.
void Accelerate(const mjModel* model, mjData* data, const double* qpos, const double* qvel, const double* ctrl, double* qacc,
                double* centre) {
  Set(model, data, qpos, qvel);
  mju_copy(data->ctrl, ctrl, model->nu);
  mj_step(model, data);
  for (int i = 0; i < model->nv; ++i) qacc[i] = (data->qvel[i] - qvel[i]) / model->opt.timestep;
  if (centre) mju_copy(centre, data->sensordata, 2);
}

// Positions after moving at `qvel` for `h` seconds; the first joint is free, the others are not.
void Integrate(const mjModel* model, const double* qpos, const double* qvel, double h, double* result) {
  for (int i = 0; i < 3; ++i) result[i] = qpos[i] + h * qvel[i];
  double angle = h * std::sqrt(qvel[3] * qvel[3] + qvel[4] * qvel[4] + qvel[5] * qvel[5]);
  double w = std::cos(angle / 2), share = std::sin(angle / 2) / std::max(angle, 1e-15), v[3];
  for (int i = 0; i < 3; ++i) v[i] = share * (h * qvel[3 + i]);
  double w0 = qpos[3];
  const double* v0 = qpos + 4;
  result[3] = w0 * w - (v0[0] * v[0] + v0[1] * v[1] + v0[2] * v[2]);
  result[4] = w0 * v[0] + w * v0[0] + (v0[1] * v[2] - v0[2] * v[1]);
  result[5] = w0 * v[1] + w * v0[1] + (v0[2] * v[0] - v0[0] * v[2]);
  result[6] = w0 * v[2] + w * v0[2] + (v0[0] * v[1] - v0[1] * v[0]);
  for (int i = 7; i < model->nq; ++i) result[i] = qpos[i] + h * qvel[i - 1];
}

// The place that Gymnasium measures: that of the last of the four Runge-Kutta stages of the last physics step.
void MeasuredPlace(const Physics& physics, const mjModel* twin, mjData* data, const double* qpos, const double* qvel,
                   const double* ctrl, double* place) {
  int nq = twin->nq, nv = twin->nv;
  double h = physics.model->opt.timestep;
  std::vector<double> first(nv), second(nv), q(nq), v(nv);
  Accelerate(twin, data, qpos, qvel, ctrl, first.data(), nullptr);
  Integrate(twin, qpos, qvel, h / 2, q.data());
  for (int i = 0; i < nv; ++i) v[i] = qvel[i] + h / 2 * first[i];
  Accelerate(twin, data, q.data(), v.data(), ctrl, second.data(), nullptr);
  for (int i = 0; i < nv; ++i) v[i] = qvel[i] + h / 2 * second[i];
  Integrate(twin, qpos, v.data(), h, q.data());
  if (physics.place == Place::kTorso) {
    place[0] = q[0];
    place[1] = q[1];
    return;
  }
  Accelerate(twin, data, q.data(), qvel, ctrl, first.data(), place);
}

// Write a float64 as three float32 whose sum is exactly it; the first is it rounded.
void Split(double x, float* parts, int64_t stride) {
  parts[0] = static_cast<float>(x);
  double rest = x - parts[0];
  parts[stride] = static_cast<float>(rest);
  parts[2 * stride] = static_cast<float>(rest - parts[stride]);
}

ffi::Error Unknown(std::string_view name) {
  return ffi::Error(ffi::ErrorCode::kFailedPrecondition,
                    "the physics " + std::string(name) + " is not loaded; make its task family first");
}

// given [..., 3 * size + nu + factors] -> result [..., 3 * size + 2], as native.py's host_step.
ffi::Error Step(ffi::Buffer<ffi::F32> given, ffi::ResultBuffer<ffi::F32> result, std::string_view name) {
  Physics* physics = Find(name);
  if (!physics) return Unknown(name);
  const mjModel* model = physics->model;
  int64_t size = physics->size(), nq = model->nq, nv = model->nv, nu = model->nu;
  int64_t width = given.dimensions().back(), out_width = 3 * size + 2;
  int64_t factors = width - 3 * size - nu;
  if ((factors != 0 && factors != physics->num_factors()) || result->dimensions().back() != out_width) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, "arrays of another robot than " + std::string(name));
  }
  int64_t batch = given.element_count() / width;
  const float* in = given.typed_data();
  float* out = result->typed_data();

  std::vector<std::shared_ptr<const mjModel>> which, which_twin;
  if (factors) {
    std::vector<float> rows(batch * factors);
    for (int64_t i = 0; i < batch; ++i) {
      std::memcpy(rows.data() + i * factors, in + i * width + 3 * size + nu, factors * sizeof(float));
    }
    which = physics->models.Changed(rows.data(), batch, factors);
    if (physics->place != Place::kRoot) which_twin = physics->twins.Changed(rows.data(), batch, factors);
  }
  double duration = model->opt.timestep * physics->frame_skip;

  auto rows = [&](int64_t first, int64_t last, mjData* data, mjData* twin_data) {
    std::vector<double> before(size), ctrl(nu), qpos(nq), qvel(nv);
    for (int64_t i = first; i < last; ++i) {
      const float* row = in + i * width;
      for (int64_t j = 0; j < size; ++j) before[j] = double(row[j]) + double(row[size + j]) + double(row[2 * size + j]);
      for (int64_t j = 0; j < nu; ++j) ctrl[j] = row[3 * size + j];
      const mjModel* mine = factors ? which[i].get() : model;
      Set(mine, data, before.data(), before.data() + nq);
      for (int step = 0; step < physics->frame_skip && !Warned(data); ++step) {
        if (step == physics->frame_skip - 1) {
          mju_copy(qpos.data(), data->qpos, nq);
          mju_copy(qvel.data(), data->qvel, nv);
        }
        mju_copy(data->ctrl, ctrl.data(), nu);
        mj_step(mine, data);
      }
      if (Warned(data)) {  // the last two states are then the same
        mju_copy(qpos.data(), data->qpos, nq);
        mju_copy(qvel.data(), data->qvel, nv);
      }
      double place[2] = {data->qpos[0], 0.0};
      if (physics->place != Place::kRoot) {
        const mjModel* twin = factors ? which_twin[i].get() : physics->twin;
        MeasuredPlace(*physics, twin, twin_data, qpos.data(), qvel.data(), ctrl.data(), place);
      }
      float* to = out + i * out_width;
      for (int64_t j = 0; j < nq; ++j) Split(data->qpos[j], to + j, size);
      for (int64_t j = 0; j < nv; ++j) Split(data->qvel[j], to + nq + j, size);
      for (int64_t j = 0; j < 2; ++j) {
        Split(place[j], to + nq + nv + j, size);
        to[3 * size + j] = static_cast<float>((place[j] - before[nq + nv + j]) / duration);
      }
    }
  };
  InThreads(physics->helpers, batch, [&] {
    Borrowed data(physics->data), twin_data(physics->twin_data);
    return [&rows, data = std::move(data), twin_data = std::move(twin_data)](int64_t first, int64_t last) {
      rows(first, last, data.get(), twin_data.get());
    };
  });
  return ffi::Error::Success();
}

// qpos, qvel, factors -> the centre of mass at rest there [..., 3, 2], as native.py's host_centre.
ffi::Error Centre(ffi::Buffer<ffi::F32> given, ffi::ResultBuffer<ffi::F32> result, std::string_view name) {
  Physics* physics = Find(name);
  if (!physics) return Unknown(name);
  const mjModel* model = physics->model;
  int64_t nq = model->nq, nv = model->nv, width = given.dimensions().back(), factors = width - nq - nv;
  if (factors != 0 && factors != physics->num_factors()) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, "arrays of another robot than " + std::string(name));
  }
  int64_t batch = given.element_count() / width;
  const float* in = given.typed_data();
  float* out = result->typed_data();
  mjData* data = physics->twin_data.Take();
  std::vector<double> qpos(nq), qvel(nv), qacc(nv), rest(model->nu, 0.0);
  for (int64_t i = 0; i < batch; ++i) {
    const float* row = in + i * width;
    std::copy(row, row + nq, qpos.begin());
    std::copy(row + nq, row + nq + nv, qvel.begin());
    std::shared_ptr<const mjModel> changed;
    if (factors) changed = physics->twins.Changed(row + nq + nv, 1, factors)[0];
    double centre[2];
    Accelerate(factors ? changed.get() : physics->twin, data, qpos.data(), qvel.data(), rest.data(), qacc.data(), centre);
    for (int64_t j = 0; j < 2; ++j) Split(centre[j], out + 6 * i + j, 2);
  }
  physics->twin_data.Give(data);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(MetarlStep, Step,
                              ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>().Attr<std::string_view>(
                                  "physics"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(MetarlCentre, Centre,
                              ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>().Attr<std::string_view>(
                                  "physics"));

// Make a physics known by name. The models must live as long as the process; a name that is known keeps its physics.
extern "C" void MetarlRegister(const char* name, void* model, void* twin, int place, int frame_skip, int threads, int64_t limit) {
  std::lock_guard<std::mutex> lock(registry_mutex);
  auto& entry = Registry()[name];
  if (!entry) {
    entry = std::make_unique<Physics>(static_cast<const mjModel*>(model), static_cast<const mjModel*>(twin),
                                      static_cast<Place>(place), frame_skip, threads, static_cast<size_t>(limit));
  }
}
