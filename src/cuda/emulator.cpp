// SPDX-License-Identifier: MIT
#include "cuda/emulator.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <numeric>
#include <utility>
#include <vector>

#include "rotorquant/error.h"
#include "rotorquant/random.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace rotorquant::gpu::emulator {
namespace {

constexpr unsigned lanes = 32;
constexpr size_t stack_bytes = size_t{256} << 10U;

struct alignas(16) Words {
  uint32_t w[4];
};
/// What shared memory holds at first.
constexpr Words uninitialised{{0xA5A5A5A5U, 0xA5A5A5A5U, 0xA5A5A5A5U, 0xA5A5A5A5U}};

enum class Waits : uint8_t { nothing, block, warp, finished };

/// Tells the address sanitizer about a switch of stacks: before it, and after.
class StackSwitch {
 public:
  void leave(const void* bottom, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fake_stack_, bottom, bytes);
#else
    (void)bottom;
    (void)bytes;
#endif
  }
  void arrive(const void** bottom, size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack_, bottom, bytes);
#else
    (void)bottom;
    (void)bytes;
#endif
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack_ = nullptr;
#endif
};

/// A stack that waits, and how to leave one for another.
#if defined(__x86_64__)
// swapcontext() asks the kernel for the signal mask at every switch, which made up most of the
// tests' time: here just what a call must preserve changes.
asm(R"(
.text
.type rotorquant_switch_stack, @function
rotorquant_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size rotorquant_switch_stack, .-rotorquant_switch_stack
)");
extern "C" void rotorquant_switch_stack(void** here, void* there);

class Context {
 public:
  void switch_to(Context& other) { rotorquant_switch_stack(&top_, other.top_); }
  /// Makes it run entry(), which never returns, on a stack of its own.
  void begin(std::vector<unsigned char>& stack, void (*entry)()) {
    constexpr size_t saved_registers = 6;
    unsigned char* end = stack.data() + stack.size();
    end -= reinterpret_cast<uintptr_t>(end) % 16;
    auto** slot = reinterpret_cast<void**>(end);
    *--slot = nullptr;  // as if entry() had been called: its stack is 8 bytes off
    *--slot = reinterpret_cast<void*>(entry);
    for (size_t i = 0; i < saved_registers; ++i) {
      *--slot = nullptr;
    }
    top_ = slot;
  }

 private:
  void* top_ = nullptr;
};
#else
class Context {
 public:
  void switch_to(Context& other) { swapcontext(&context_, &other.context_); }
  void begin(std::vector<unsigned char>& stack, void (*entry)()) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack.data();
    context_.uc_stack.ss_size = stack.size();
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
  }

 private:
  ucontext_t context_{};
};
#endif

struct Fiber {
  Context context;
  std::vector<unsigned char> stack = std::vector<unsigned char>(stack_bytes);
  StackSwitch stack_switch;
  Waits waits = Waits::finished;
  unsigned exchanges = 0;
};

struct Warp {
  std::array<std::array<Slot, lanes>, 2> slots{};
};

/// Fibers outlive a launch, so that stacks are allocated once.
class Scheduler {
 public:
  void run(const LaunchShape& shape, const std::function<void()>& body);
  Position position{};

  void wait(Waits reason);
  const Slot* exchange(const void* data, size_t bytes);
  Schedule schedule = Schedule::forward;

 private:
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<unsigned> order_;
  Context main_;
  StackSwitch main_switch_;
  const void* main_bottom_ = nullptr;
  size_t main_bytes_ = 0;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr error_;
  Rng rng_{1};

  static void entry();
  void run_block();
  void resume(unsigned thread);
  bool release_waiting();
};

thread_local Scheduler scheduler;

void Scheduler::entry() {
  Scheduler& self = scheduler;
  Fiber& fiber = self.fibers_[self.position.thread];
  fiber.stack_switch.arrive(&self.main_bottom_, &self.main_bytes_);
  try {
    (*self.body_)();
  } catch (...) {
    self.error_ = std::current_exception();
  }
  self.wait(Waits::finished);
}

void Scheduler::resume(unsigned thread) {
  Fiber& fiber = fibers_[thread];
  position.thread = thread;
  main_switch_.leave(fiber.stack.data(), fiber.stack.size());
  main_.switch_to(fiber.context);
  main_switch_.arrive(nullptr, nullptr);
}

void Scheduler::wait(Waits reason) {
  Fiber& fiber = fibers_[position.thread];
  fiber.waits = reason;
  fiber.stack_switch.leave(main_bottom_, main_bytes_);
  fiber.context.switch_to(main_);
  fiber.stack_switch.arrive(&main_bottom_, &main_bytes_);
}

const Slot* Scheduler::exchange(const void* data, size_t bytes) {
  const unsigned thread = position.thread;
  // Two sets of slots: a lane that writes set 0 again has met all others at set 1 meanwhile, and
  // they had read set 0 by then.
  auto& slots = warps_[thread / lanes].slots[fibers_[thread].exchanges++ % 2];
  if (bytes > 0) {
    std::memcpy(slots[thread % lanes].bytes, data, bytes);
  }
  wait(Waits::warp);
  return slots.data();
}

/// Lets go on whoever has met the others. False: nobody has.
bool Scheduler::release_waiting() {
  const auto begin = fibers_.begin();
  const auto end = begin + position.threads;
  const auto waits_for = [](Waits what) {
    return [what](const Fiber& fiber) { return fiber.waits == what; };
  };
  const auto set_free = [](Fiber& fiber) { fiber.waits = Waits::nothing; };
  if (std::all_of(begin, end, waits_for(Waits::block))) {
    std::for_each(begin, end, set_free);
    return true;
  }
  bool any = false;
  for (auto first = begin; first != end; first += lanes) {
    if (std::all_of(first, first + lanes, waits_for(Waits::warp))) {
      std::for_each(first, first + lanes, set_free);
      any = true;
    }
  }
  return any;
}

void Scheduler::run_block() {
  for (unsigned t = 0; t < position.threads; ++t) {
    Fiber& fiber = fibers_[t];
    fiber.waits = Waits::nothing;
    fiber.exchanges = 0;
    fiber.stack_switch = {};
    fiber.context.begin(fiber.stack, &Scheduler::entry);
  }
  const auto finished = [this] {
    return std::all_of(fibers_.begin(), fibers_.begin() + position.threads,
                       [](const Fiber& fiber) { return fiber.waits == Waits::finished; });
  };
  do {
    for (const unsigned t : order_) {
      if (fibers_[t].waits == Waits::nothing) {
        resume(t);
        if (error_) {
          std::rethrow_exception(std::exchange(error_, nullptr));
        }
      }
    }
    if (finished()) {
      return;
    }
    if (schedule == Schedule::shuffled) {
      std::rotate(order_.begin(), order_.begin() + rng_.below(order_.size()), order_.end());
    }
  } while (release_waiting());
  require(false, "emulated block", "all threads at the same barrier or warp operation",
          "some that are not");
}

void Scheduler::run(const LaunchShape& shape, const std::function<void()>& body) {
  require(shape.threads > 0 && shape.threads % lanes == 0 && shape.threads <= 1024,
          "threads of a block", "whole warps, at most 1024", shape.threads);
  require(shape.blocks_x > 0 && shape.blocks_y > 0 && shape.blocks_y < 65536, "blocks of a launch",
          "at least 1 and fewer than 65536 in y", shape.blocks_y);
  while (fibers_.size() < shape.threads) {
    fibers_.emplace_back();
  }
  warps_.resize(shape.threads / lanes);
  order_.resize(shape.threads);
  std::iota(order_.begin(), order_.end(), 0U);
  if (schedule != Schedule::forward) {
    std::reverse(order_.begin(), order_.end());
  }
  body_ = &body;
  position.threads = shape.threads;
  position.blocks_x = shape.blocks_x;
  const unsigned blocks = shape.blocks_x * shape.blocks_y;
  for (unsigned i = 0; i < blocks; ++i) {
    const unsigned block = schedule == Schedule::forward ? i : blocks - 1 - i;
    // Allocated anew, and no more than asked for: the address sanitizer sees accesses beyond it.
    std::vector<Words> shared((shape.shared_bytes + sizeof(Words) - 1) / sizeof(Words),
                              uninitialised);
    position.block_x = block % shape.blocks_x;
    position.block_y = block / shape.blocks_x;
    position.shared = reinterpret_cast<uint8_t*>(shared.data());
    run_block();
  }
}

}  // namespace

void set_schedule(Schedule schedule) {
  scheduler.schedule = schedule;
}

void run(const LaunchShape& shape, const std::function<void()>& body) {
  scheduler.run(shape, body);
}

const Position& position() {
  return scheduler.position;
}

void wait_for_block() {
  scheduler.wait(Waits::block);
}

const Slot* exchange(const void* data, size_t bytes) {
  return scheduler.exchange(data, bytes);
}

}  // namespace rotorquant::gpu::emulator
